#!/bin/sh
# A C compiler for macOS, called as Apple's is. Zig names its targets otherwise and brings its own
# headers, so what says the same in Apple's words is left out. Its debug builds would call a runtime of
# checks that is not there when Rust links.
here=$(cd "${0%/*}" && pwd)
export ZIG_GLOBAL_CACHE_DIR="$here/cache" ZIG_LOCAL_CACHE_DIR="$here/cache"
left=$#
while [ $left -gt 0 ]; do
  word=$1
  shift
  left=$((left - 1))
  case $word in
  -arch | -isysroot)
    shift
    left=$((left - 1))
    ;;
  --target=* | -mmacosx-version-min=*) ;;
  *) set -- "$@" "$word" ;;
  esac
done
exec "$here/site/ziglang/zig" cc -target @TARGET@ -fno-sanitize=undefined "$@"
