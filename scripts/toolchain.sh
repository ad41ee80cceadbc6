# shellcheck shell=bash
# Toolchains other than the one that builds everything. To be sourced.

# need_toolchain NAME [COMPONENT…]: puts the name of that toolchain with those components, as
# rustup knows it here or has just got it, into $toolchain. The default one stays what it is.
need_toolchain() {
    local wanted=$1 component
    shift
    for toolchain in "$wanted" "$wanted.0"; do
        if rustup run "$toolchain" rustc --version >/dev/null 2>&1; then
            break
        fi
        toolchain=
    done
    if [[ -z $toolchain ]]; then
        toolchain=$wanted
        echo "Rust $toolchain is not here: installing it"
        rustup toolchain install "$toolchain" --no-self-update --profile minimal >/dev/null 2>&1 || return 1
    fi
    for component in "$@"; do
        rustup "+$toolchain" component list --installed 2>/dev/null | grep -q "^$component" ||
            rustup "+$toolchain" component add "$component" >/dev/null 2>&1 || return 1
    done
}

# left_out WHAT WHY: says so; with PERFBUDGET_REQUIRE_TOOLCHAINS=1 that is a failure.
left_out() {
    echo "LEFT OUT: $1; $2"
    [[ ${PERFBUDGET_REQUIRE_TOOLCHAINS:-} != 1 ]]
}
