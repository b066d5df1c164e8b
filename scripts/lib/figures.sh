# shellcheck shell=bash
# What the benchmarks have in common: figures beside what they are held against, and requests by the second. Sourced,
# never run; `load` wants $work, $key, $connections and $seconds.

results=()

# add NAME VALUE UNIT CEILING TARGET KIND [P99]: KIND is ratio (value / ceiling), most (value at most the ceiling).
add() {
    local line
    line=$(awk -v n="$1" -v v="$2" -v u="$3" -v c="$4" -v t="$5" -v k="$6" -v p="${7:-}" 'BEGIN {
        r = c > 0 ? (k == "ratio" ? v / c : c / (v > 0 ? v : 1)) : 0
        met = r >= t ? "true" : "false"
        printf "{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"%s\", \"ceiling\": %.1f, \"ratio\": %.2f, \"target\": %s, \"met\": %s", n, v, u, c, r, t, met
        if (p != "") printf ", \"p99\": %.1f", p
        print "}" }')
    results+=("$line")
    echo "  $line" >&2
}

mean() { awk -v a="$1" -v b="$2" 'BEGIN {print (a + b) / 2}'; }

load() { # load THREADS URL [SCRIPT]: requests a second; an answer that is no success makes it 0.
    local out
    # shellcheck disable=SC2154
    out=$(KEY=$key wrk -t "$1" -c "$connections" -d "${seconds}s" ${3:+-s "$3"} -H "Authorization: Bearer $key" "$2")
    if grep -qE 'Non-2xx|Socket errors: .*[1-9]' <<<"$out"; then
        echo "$out" >&2
        echo 0
    else
        awk '/Requests\/sec/ {print $2}' <<<"$out"
    fi
}

# report [FILE]: the table, and the same as JSON in a file. A figure's p99 stands behind its name.
report() {
    local line index
    printf '\n| what | value | unit | ceiling | ratio | target | met |\n| --- | --- | --- | --- | --- | --- | --- |\n'
    for line in "${results[@]}"; do
        sed -E 's/\{"name": "([^"]*)", "value": ([^,]*), "unit": "([^"]*)", "ceiling": ([^,]*), "ratio": ([^,]*), "target": ([^,]*), "met": ([a-z]*)(, "p99": ([0-9.]*))?\}/| \1{\9} | \2 | \3 | \4 | \5 | \6 | \7 |/; s/\{\}//; s/\{([0-9.]+)\}/, p99 \1/' <<<"$line"
    done
    [ -n "${1:-}" ] || return 0
    { echo '['; for index in "${!results[@]}"; do printf '  %s%s\n' "${results[$index]}" "$([ "$index" -lt $((${#results[@]} - 1)) ] && echo ,)"; done; echo ']'; } >"$1"
}
