# shellcheck shell=bash
# Finds the tools that cargo does not bring: a good-enough one on PATH, else the one in
# target/tools, else a build of it from the registry into target/tools. Only PostgreSQL and
# Chromium are installed globally, where they can be and PERFBUDGET_INSTALL=no does not forbid it.
# To be sourced, from the workspace's root.

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

# Exactly this version: the A/B study compares with it. Its program is named after another.
need_perfgate() {
    tool=$PWD/target/tools/bin/perfgate
    if [[ $("$tool" --version 2>/dev/null) == *" 0.18.1" ]]; then
        return 0
    fi
    echo "perfgate 0.18.1 is not here: building it into target/tools (once, about five minutes on two cores)"
    env -u CARGO_TARGET_DIR cargo install perfgate-cli --quiet --locked --version =0.18.1 --root target/tools --force
}

# find_postgres: whether the crate temporary-postgres will find a server; it looks in these places.
find_postgres() {
    local folder
    if [[ -n ${PERFBUDGET_POSTGRES_BIN:-} ]]; then
        [[ -x $PERFBUDGET_POSTGRES_BIN/postgres ]]
        return
    fi
    if command -v postgres >/dev/null; then
        return 0
    fi
    for folder in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
        if [[ -x $folder/postgres ]]; then
            return 0
        fi
    done
    return 1
}

# need_postgres: installs the server where there is none and apt-get can do it without a password
# (Debian, Ubuntu). Goes on without it elsewhere: tests that need it are then left out.
need_postgres() {
    local log=target/postgres-installation.log as_root=(env)
    if [[ ${PERFBUDGET_INSTALL:-} == no ]]; then
        return 0
    fi
    if find_postgres || [[ -n ${PERFBUDGET_POSTGRES_BIN:-} ]] || ! command -v apt-get >/dev/null; then
        return 0
    fi
    if [[ $(id -u) -ne 0 ]]; then
        sudo -n true 2>/dev/null || return 0
        as_root=(sudo -n)
    fi
    echo "PostgreSQL is not here: installing the server (apt-get install postgresql), and starting none"
    mkdir -p target
    "${as_root[@]}" bash -s >"$log" 2>&1 <<'INSTALL' || {
set -eu
export DEBIAN_FRONTEND=noninteractive
# The package makes a cluster of its own and starts it, unless this says otherwise meanwhile.
directory=/etc/postgresql-common/createcluster.d
mkdir -p "$directory"
echo 'create_main_cluster = false' >"$directory/perfbudget.conf"
trap 'rm -f "$directory/perfbudget.conf"; rmdir "$directory" 2>/dev/null || true' EXIT
install() {
    # Standard input is this script.
    apt-get install -y -q --no-install-recommends postgresql </dev/null
}
install || { apt-get update -q </dev/null && install; }
INSTALL
        tail -n 5 "$log" | sed 's/^/  /'
        echo "PostgreSQL could not be installed ($log)"
    }
}

# need_chromium: the same for a browser, in which a test looks at reports. Where none can be
# installed, that test is left out.
need_chromium() {
    local name log=target/chromium-installation.log as_root=(env)
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then
            return 0
        fi
    done
    if [[ ${PERFBUDGET_INSTALL:-} == no ]] || ! command -v apt-get >/dev/null; then
        return 0
    fi
    if [[ $(id -u) -ne 0 ]]; then
        sudo -n true 2>/dev/null || return 0
        as_root=(sudo -n)
    fi
    echo "Chromium is not here: installing it (apt-get install chromium)"
    mkdir -p target
    "${as_root[@]}" bash -s >"$log" 2>&1 <<'INSTALL' || {
set -eu
export DEBIAN_FRONTEND=noninteractive
install() {
    # Standard input is this script.
    apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core </dev/null
}
install || { apt-get update -q </dev/null && install; }
INSTALL
        tail -n 5 "$log" | sed 's/^/  /'
        echo "Chromium could not be installed ($log)"
    }
}

# test_studies MANIFEST...: formatting, clippy and tests of studies, and of what they share.
test_studies() {
    local manifest
    for manifest in studies/shared/Cargo.toml "$@"; do
        cargo fmt --manifest-path "$manifest" --check
        cargo clippy --manifest-path "$manifest" --locked --all-targets --all-features --profile perf -- \
            -D warnings
        cargo test --manifest-path "$manifest" --locked --all-features --profile perf
    done
}
