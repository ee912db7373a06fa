# SPDX-License-Identifier: Apache-2.0
#
# Says why nothing can be started here, where a person sees it, and ends with 1.
#
#     sh refuse.sh WHY [serve]
#
# Of a server a host shows what it answers, and nothing of its standard error: each request gets
# WHY as an error. No character in it may need to be escaped in JSON, and no word stand in the
# environment of the server's entry, such as the host's name: Claude Code blacks that out.

echo "$1" >&2
if [ "$2" = serve ]; then
    while IFS= read -r line; do
        case $line in
            *'"id":'*) ;;
            *) continue ;; # a notification
        esac
        id=${line#*'"id":'}
        printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":"%s"}}\n' "${id%%[,\}]*}" "$1"
    done
fi
exit 1
