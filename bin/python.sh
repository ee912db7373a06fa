# SPDX-License-Identifier: Apache-2.0
#
# Runs a script of the plugin with a Python that is there.
#
#     sh python.sh SCRIPT ARGUMENTS
#
# The best is the one that runs agentbus itself: `agentbus install claude-code` noted it. One on
# PATH is tried before: a shim of pyenv or asdf has none for many a folder.

# Monitors and the shell of a session are not told of the plugin's folder of data.
data=${CLAUDE_PLUGIN_DATA:-${CLAUDE_CONFIG_DIR:-$HOME/.claude}/plugins/data/agentbus-agentbus}
noted=
if [ -f "$data/program" ]; then # a pipe would be waited for
    { read -r _ && read -r _ && IFS= read -r noted; } 2>/dev/null <"$data/program"
fi

if [ -x "$noted" ]; then
    exec "$noted" -I -S "$@"
fi
for python in "$(command -v python3)" /usr/bin/python3; do
    case $python in
        /*) ;;
        *) continue ;; # by a relative folder on PATH a project could put one there
    esac
    if "$python" -I -S -c "" 2>/dev/null </dev/null; then
        exec "$python" -I -S "$@"
    fi
done
why='agentbus: there is no Python here. Run `agentbus setup`: it notes its own.'
exec /bin/sh "${0%/*}/refuse.sh" "$why" "$2"
