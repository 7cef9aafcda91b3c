#!/usr/bin/env bash
# The NEON variant on any machine: the kernels and their C tests, cross-compiled for aarch64 and run under an emulator.
#
# Needs a cross compiler, its C library and the emulator; on Debian:
#
#     apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
#
# CC, EMULATOR and CFLAGS may name others. Prints how many checks passed and failed, and fails if one did.
set -euo pipefail
cd "$(dirname "$0")/.."
compiler=${CC:-aarch64-linux-gnu-gcc}
emulator=${EMULATOR:-qemu-aarch64 -L /usr/aarch64-linux-gnu}
for command in "$compiler" "${emulator%% *}"; do
    if ! command -v "$command" > /dev/null; then
        echo "no $command; on Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user" >&2
        exit 2
    fi
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for source in csrc/runtime.c csrc/variants/*.c csrc/tests/*.c; do
    $compiler -std=gnu11 ${CFLAGS:--O2} -Wall -Wextra -fopenmp -c "$source" -o "$folder/$(basename "$source" .c).o"
done
$compiler -fopenmp "$folder"/*.o -lm -o "$folder/kernel_tests"
$emulator "$folder/kernel_tests" | tee "$folder/output"
grep -q '^neon double' "$folder/output"
