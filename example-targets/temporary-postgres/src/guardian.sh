# Makes a directory, keeps it while its owner lives, and then removes it with what runs in it.
#
# $1: the directory to make it in. Standard input: what only the owner can write to, so that it
# ends when the owner does, however that happens; a line is the process group that runs in the
# directory now, or empty. Standard output, for want of another descriptor: the end to *read* of a
# pipe whose other end the owner and everything that runs in the directory hold. Standard error:
# one line for the owner, "made" and the directory, or why there is none.

# The owner decides, not the terminal.
trap '' HUP INT QUIT TERM

root=$(mktemp -d "$1/postgres-XXXXXXXX") || exit 1
printf 'made %s\n' "$root" >&2
exec 2>/dev/null

group=
while read -r line; do
    group=$line
done

if [ -n "$group" ]; then
    # To the server: an immediate shutdown. It takes its shared memory with it.
    kill -s QUIT -- "-$group"
    kill -s CONT -- "-$group"
    cat <&1 >/dev/null
fi
# Something that was started and not yet named loses its directory, and ends for that.
rm -rf "$root"
cat <&1 >/dev/null
rm -rf "$root"
