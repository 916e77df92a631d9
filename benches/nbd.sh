#!/usr/bin/env bash
# What NBD costs, beside others on this machine in the same run: `remora attach` and nbdkit's memory plugin on memory,
# `remora attach` and qemu-nbd on a file through the page cache, and `remora bench` on the same memory without NBD.
# The client is always fio's NBD engine. Rounds alternate; the medians are printed, and their ratios.
#
#   benches/nbd.sh [SECONDS of one measurement, 5] [ROUNDS, 3]
#
# Needs fio, nbdkit and qemu-nbd (Debian: fio nbdkit qemu-utils), and target/release/remora (or $REMORA).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-5}
rounds=${2:-3}
remora=${REMORA:-target/release/remora}
for program in fio nbdkit qemu-nbd "$remora"; do
    command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 2; }
done

place=$(mktemp -d)
export XDG_RUNTIME_DIR=$place
children=()
finish() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    wait
    rm -rf "$place"
}
trap finish EXIT

size=1073741824
for file in ours theirs; do
    dd if=/dev/urandom of="$place/$file.img" bs=1M count=1024 status=none
done
"$remora" attach mem:1GiB --nbd "unix:$place/remora-mem.sock" >/dev/null & children+=($!)
nbdkit --foreground --unix "$place/nbdkit-mem.sock" memory 1G & children+=($!)
"$remora" attach "file:$place/ours.img?direct=false" --nbd "unix:$place/remora-file.sock" >/dev/null & children+=($!)
qemu-nbd --format=raw --persistent --shared=8 --socket="$place/qemu-file.sock" "$place/theirs.img" & children+=($!)
for socket in remora-mem nbdkit-mem remora-file qemu-file; do
    until [ -S "$place/$socket.sock" ]; do sleep 0.1; done
done
# Memory that was never written is no memory yet.
for socket in remora-mem nbdkit-mem; do
    fio --name=fill --ioengine=nbd --uri="nbd+unix:///?socket=$place/$socket.sock" --rw=write --bs=1m --iodepth=4 \
        --size=$size >/dev/null
done

# I/O a second through NBD: SERVER LOAD BYTES DEPTH.
through_nbd() {
    fio --name=bench --ioengine=nbd --uri="nbd+unix:///?socket=$place/$1.sock" --rw="$2" --bs="$3" --iodepth="$4" \
        --size=$size --time_based --runtime="$seconds" --ramp_time=0.5 --randrepeat=0 \
        --output-format=terse --terse-version=3 |
        awk -F';' '$3 == "bench" { print $8 + $49; exit }'
}

# The same on the device itself.
direct() {
    "$remora" bench mem:1GiB --rw "$2" --bs "$3" --iodepth "$4" --runtime "$seconds" --output-format json 2>/dev/null |
        awk -F'[:,]' '/"iops"[^_]/ { total += $2 } END { print total + 0 }'
}

median() { sort -n | awk '{ values[NR] = $1 } END { print values[int((NR + 1) / 2)] }'; }

printf '%-22s %12s %12s %7s %12s %12s %7s %14s\n' 'I/O a second' 'remora mem' 'nbdkit mem' ratio \
    'remora file' 'qemu-nbd' ratio 'without NBD'
for load in 'randread 4k 1' 'randread 4k 32' 'randwrite 4k 1' 'randwrite 4k 32' \
    'randread 128k 1' 'randread 128k 8' 'randwrite 128k 1' 'randwrite 128k 8'; do
    read -r rw bytes depth <<<"$load"
    for name in remora-mem nbdkit-mem remora-file qemu-file direct; do : >"$place/$name.rates"; done
    for ((round = 0; round < rounds; round++)); do
        for name in remora-mem nbdkit-mem remora-file qemu-file; do
            through_nbd "$name" "$rw" "$bytes" "$depth" >>"$place/$name.rates"
        done
        direct - "$rw" "$bytes" "$depth" >>"$place/direct.rates"
    done
    for name in remora-mem nbdkit-mem remora-file qemu-file direct; do
        declare "m_${name//-/_}=$(median <"$place/$name.rates")"
    done
    awk -v load="$load" -v a="$m_remora_mem" -v b="$m_nbdkit_mem" -v c="$m_remora_file" -v d="$m_qemu_file" \
        -v e="$m_direct" 'BEGIN { printf "%-22s %12.0f %12.0f %7.2f %12.0f %12.0f %7.2f %14.0f\n", load, a, b, a / b, c, d, c / d, e }'
done
