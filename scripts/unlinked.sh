# Sourced. What is only documented is never linked, and jemalloc takes minutes to build: its place
# is taken by an archive with nothing in it.
#
# without_jemalloc DIRECTORY: sets JEMALLOC_OVERRIDE, which tikv-jemalloc-sys looks for.
without_jemalloc() {
    mkdir -p "$1"
    printf '!<arch>\n' >"$1/libjemalloc.a"
    JEMALLOC_OVERRIDE=$(cd "$1" && pwd)/libjemalloc.a
    export JEMALLOC_OVERRIDE
}
