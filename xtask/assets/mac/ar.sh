#!/bin/sh
# An archiver that knows macOS' object files.
exec "${0%/*}/site/ziglang/zig" ar "$@"
