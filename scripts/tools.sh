# shellcheck shell=bash
# Finds the tools that cargo does not bring: a good-enough one on PATH, else the one in
# target/tools, else a build of it from the registry into target/tools. Nothing is
# installed globally. To be sourced, from the workspace's root.

# at_least HAVE WANT: whether the version HAVE (three numbers) is WANT or newer.
at_least() {
    local have want part
    [[ ${1%%[-+]*} =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || return 1
    IFS=. read -r -a have <<<"${1%%[-+]*}"
    IFS=. read -r -a want <<<"$2"
    for part in 0 1 2; do
        ((have[part] == want[part])) || return $((have[part] < want[part]))
    done
}

# find_tool NAME MINIMUM: puts the path of a NAME that is MINIMUM or newer into $tool.
find_tool() {
    local version
    for tool in "$(command -v "$1" || true)" "target/tools/bin/$1"; do
        [[ -x $tool ]] || continue
        version=$("$tool" --version 2>/dev/null | awk 'NR == 1 { print $2 }') || continue
        if at_least "$version" "$2"; then
            return 0
        fi
    done
    return 1
}

# need_tool NAME MINIMUM VERSION TIME [cargo install options]: like find_tool, and builds
# VERSION where none is found. TIME is what the build takes on two cores.
need_tool() {
    local name=$1 minimum=$2 version=$3 time=$4
    shift 4
    if find_tool "$name" "$minimum"; then
        return 0
    fi
    echo "$name $minimum or newer is not here: building $version into target/tools (once, $time on two cores)"
    cargo install "$name" --quiet --locked --version "=$version" --root target/tools --force "$@" 2>&1 |
        { grep -v '^warning: be sure to add' || true; }
    [[ ${PIPESTATUS[0]} -eq 0 ]] && find_tool "$name" "$minimum"
}

need_action_validator() {
    need_tool action-validator 0.9.0 0.9.0 "about two minutes"
}

# Without nextest's self-update: a tool in target/tools is replaced by the next version here.
need_nextest() {
    need_tool cargo-nextest 0.9.116 0.9.151 "about six minutes" \
        --no-default-features --features default-no-update
}
