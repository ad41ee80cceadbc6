# shellcheck shell=bash
# Runs tests chosen by the name of their function: with cargo-nextest, or with `cargo test`
# where nextest can't be had. To be sourced, from the workspace's root.

# shellcheck source=scripts/tools.sh
. scripts/tools.sh

# The last segment of a test's name decides, so a module `perf_drain` makes no gates of its
# helpers' tests. Both patterns mean the same to nextest and to grep -E.
GATES='(^|::)perf_[^:]*$'
# Tests which show that a planted defect turns a gate red. Only optimised builds have them.
DEMONSTRATIONS='(^|::)red_[^:]*$'

# choose_runner: puts nextest's path into $nextest; leaves it empty for `cargo test`.
# RUNNER=cargo asks for `cargo test` without trying.
choose_runner() {
    nextest=
    case ${RUNNER:-nextest} in
    nextest)
        if need_nextest; then
            nextest=$tool
        else
            echo "cargo-nextest could not be installed: falling back to cargo test (one test at a time, no time limits)"
        fi
        ;;
    cargo) echo "RUNNER=cargo: cargo test instead of cargo-nextest (one test at a time, no time limits)" ;;
    *)
        echo "RUNNER is nextest or cargo, not '$RUNNER'" >&2
        exit 2
        ;;
    esac
}

# libtest_names PROFILE PATTERN [PACKAGE]: the names that match, a line each.
libtest_names() {
    local packages=(--workspace)
    if [[ -n ${3:-} ]]; then
        packages=(--package "$3")
    fi
    cargo test --quiet "${packages[@]}" --tests --profile "$1" -- --list --format terse |
        { grep ': test$' || true; } | sed 's/: test$//' |
        { grep -E -e "$2" || true; } | sort -u
}

# libtest PROFILE [libtest options]: one test at a time, because tests that nextest gives a
# process each share one here, with its stubs, hooks and scopes.
libtest() {
    local profile=$1
    shift
    # Tests load examples; nextest's build includes them and `--tests` does not. Cargo's
    # `test` profile puts what it builds beside that of `dev`.
    cargo build --quiet --workspace --examples --profile "${profile/test/dev}"
    cargo test --workspace --tests --profile "$profile" --no-fail-fast -- --test-threads=1 "$@"
}

# watch_left_out: when the script ends, says which tests were left out for want of what they need.
# A test that is left out passes, and nobody reads what a passing test prints: it leaves its place
# in the file.
watch_left_out() {
    export PERFBUDGET_LEFT_OUT=$PWD/target/left-out.txt
    mkdir -p target
    rm -f "$PERFBUDGET_LEFT_OUT"
    trap say_left_out EXIT
}

say_left_out() {
    local places postgres others
    [[ -s $PERFBUDGET_LEFT_OUT ]] || return 0
    places=$(sort -u "$PERFBUDGET_LEFT_OUT")
    # `file:line`, and for another reason than the usual one `file:line: reason`.
    others=$(grep ': ' <<<"$places" || true)
    postgres=$(grep -v ': ' <<<"$places" || true)
    if [[ -n $postgres ]]; then
        echo "LEFT OUT for want of PostgreSQL (apt-get install postgresql): $(grep -c '' <<<"$postgres") tests"
        # shellcheck disable=SC2001 # each line
        sed 's/^/  /' <<<"$postgres"
    fi
    if [[ -n $others ]]; then
        echo "LEFT OUT: $(grep -c '' <<<"$others") tests"
        # shellcheck disable=SC2001 # each line
        sed 's/^/  /' <<<"$others"
    fi
}
