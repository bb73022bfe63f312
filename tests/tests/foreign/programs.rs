//! Servers and clients that talk to each other.

use crate::place::{Expect, Place, compare};
use anyhow::Result;
use libtest_mimic::Trial;
use std::fs;
use tests::trial;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("programs::redis", || compare("redis", Expect::Shunted(10_000_000), redis)),
        trial("programs::nginx", || compare("nginx", Expect::Plain, nginx)),
        trial("programs::postgresql", || {
            compare("postgresql", Expect::Shunted(10_000_000), postgresql)
        }),
        // What holds the large file up is bulk, and TCP's from the first full queue on.
        trial("programs::rsync", || compare("rsync", Expect::Shunted(100_000), rsync)),
        trial("programs::iperf3", || compare("iperf3", Expect::Plain, iperf3)),
    ]
}

/// Its benchmark with pipelines, its command line client with a pipe, and a digest of all data.
fn redis(place: &Place) -> Result<String> {
    let _server = place.serve(
        6379,
        "redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save '' \
         --enable-debug-command yes",
    )?;
    place.run(
        r#"
        redis="-h $IP -p 6379"
        bench() { redis-benchmark $redis -q "$@" >>bench.log 2>&1; }
        bench -c 50 -n 20000 -P 16 -t ping,set,get,incr,lpush,lrange_100
        bench -c 50 -n 5000 -t ping,set,get
        bench -c 4 -n 200 -d 100000 -t set,get
        bench -c 20 -n 20000 -P 8 incr counted
        ! grep -i error bench.log
        seq 20000 | awk '{ print "SET key:" $1 " " $1 * $1 }' | redis-cli $redis --pipe |
            grep -o 'errors.*'
        redis-cli $redis get counted
        redis-cli $redis --raw lrange mylist 0 -1 | sha256sum
        redis-cli $redis --no-raw debug digest
        "#,
    )
}

/// `ab` for small answers; large ones whole, slowly read and uploaded, by sendfile and by write;
/// and one through itself as proxy.
fn nginx(place: &Place) -> Result<String> {
    fs::write(place.dir.join("nginx.conf"), include_str!("nginx.conf"))?;
    place.run("head -c 20000000 /dev/zero | openssl enc -aes-128-ctr -pass pass:x -nosalt >large 2>/dev/null; head -c 1000 large >small")?;
    let _server = place.serve(8083, "nginx -p $PWD/ -e stderr -c nginx.conf")?;
    place.run(
        r#"
        for port in 8081 8082; do
            http=http://$IP:$port
            for keep in '' -k; do
                ab -q $keep -n 3000 -c 30 $http/small | grep -E '^(Complete|Failed|HTML|Non)'
                ab -q $keep -n 20 -c 4 $http/large | grep -E '^(Complete|Failed|HTML|Non)'
            done
            curl -sS $http/large | sha256sum
            curl -sS --limit-rate 20M $http/large | sha256sum
            curl -sS -r 1000000-1999999 $http/large | sha256sum
            curl -sS --parallel --remote-name-all --output-dir . \
                $http/large -o 1 $http/large -o 2 $http/large -o 3
            sha256sum <1; sha256sum <2; sha256sum <3
            curl -sS -m 60 -T large $http/uploaded
            curl -sS -m 60 -H "X-Large: $(printf %05000d 1)" $http/small | sha256sum
            sha256sum <uploaded
            rm 1 2 3 uploaded
        done
        curl -sS -m 60 http://$IP:8083/large | sha256sum
        "#,
    )
}

/// pgbench, COPY both ways, and answers of many rows, with a digest of what is in the tables.
fn postgresql(place: &Place) -> Result<String> {
    let bin = "/usr/lib/postgresql/15/bin";
    place.run(&format!("{bin}/initdb -D data -U test -A trust --no-sync >initdb.log 2>&1"))?;
    fs::write(place.dir.join("data/pg_hba.conf"), "host all all all trust\n")?;
    let _server = place.serve(
        5432,
        &format!(
            "{bin}/postgres -D data -c listen_addresses=* -c unix_socket_directories= -c fsync=off"
        ),
    )?;
    place.run(&format!(
        r#"
        export PATH={bin}:$PATH PGHOST=$IP PGUSER=test PGDATABASE=postgres
        psql="psql -XqAt -v ON_ERROR_STOP=1"
        pgbench -i -q 2>pgbench.log
        pgbench -c 8 -j 2 -t 100 2>>pgbench.log | grep -E '^number of (transactions|failed)'
        pgbench -c 4 -t 500 -S -M prepared 2>>pgbench.log | grep -E '^number of (transactions|failed)'
        $psql -c "\copy (select i, sha256(i::text::bytea) from generate_series(1, 100000) i) to out"
        sha256sum <out
        $psql -c 'create table copied (i int, hash bytea)' -c '\copy copied from out'
        $psql -c "select count(*), md5(string_agg(i || hash::text, ',' order by i)) from copied"
        $psql -c 'select * from copied order by i' | sha256sum
        $psql -c "select repeat('x', 20000000)" | sha256sum
        $psql -c 'select sum(tbalance) from pgbench_tellers except select sum(bbalance) from pgbench_branches'
        "#
    ))
}

/// A daemon's module, listed, down and up, whole and as a difference.
fn rsync(place: &Place) -> Result<String> {
    fs::write(
        place.dir.join("rsyncd.conf"),
        "use chroot = no\nreverse lookup = no\n[files]\npath = served\nread only = no\n",
    )?;
    place.run("mkdir served; cp -r /usr/lib/python3.11/test/data /usr/lib/python3.11/asyncio served; head -c 20000000 /dev/urandom >served/large")?;
    let _server =
        place.serve(8730, "rsync --daemon --no-detach --port 8730 --config rsyncd.conf")?;
    place.run(
        r#"
        at=rsync://$IP:8730/files
        digest() { (cd $1; find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }
        for what in large data asyncio; do rsync -r --list-only $at/$what; done | awk '{print $2, $5}' | sha256sum
        rsync -a $at/ down
        [ "$(digest down)" = "$(digest served)" ] && echo down
        echo more >>down/large
        rsync -a --no-whole-file down/ $at/
        [ "$(digest down)" = "$(digest served)" ] && echo up
        rsync -a -z down/ $at/compressed
        [ "$(digest down)" = "$(digest served/compressed)" ] && echo compressed
        "#,
    )
}

/// Both ways, two streams each.
fn iperf3(place: &Place) -> Result<String> {
    let _server = place.serve(5201, "iperf3 -s")?;
    place.run(
        r#"
        for way in '' -R; do
            iperf3 -c $IP -n 200M -P 2 -J $way >json || { cat json; exit 1; }
            python3.11 -c '
import json
for stream in json.load(open("json"))["end"]["streams"]:
    sent, received = [stream[end]["bytes"] for end in ["sender", "receiver"]]
    print("received" if 10 << 20 < received <= sent else stream)'
        done
        "#,
    )
}
