//! Servers with their own clients, and programs behind sidecars.

use crate::program::{
    ASK, ORIGIN, Program,
    Reader::{BlockingListener, BlocksAtFirst, MptcpListener, NeverBlocks, PollsFirst, Sleeps},
};

const POSTGRESQL: &str = "
    export PATH=/usr/lib/postgresql/15/bin:$PATH
    initdb -D data -U test -A trust --no-sync >initdb.log
    echo 'host all all all trust' >data/pg_hba.conf
    exec postgres -D data -p $PORT -c listen_addresses='*' -c unix_socket_directories= -c fsync=off";

const PSQL: &str = r#"
    export PATH=/usr/lib/postgresql/15/bin:$PATH PGHOST=$IP PGPORT=$PORT PGUSER=test PGDATABASE=postgres
    psql="psql -XqAt -v ON_ERROR_STOP=1"
    case $MODE in
    first) pgbench -i -q ;;
    keep)
        pgbench -c 4 -t 200 -S -M prepared | grep -E '^number of (transactions|failed)'
        pgbench -c 4 -t 50 | grep -E '^number of (transactions|failed)' ;;
    large)
        $psql -c "\copy (select i, sha256(i::text::bytea) from generate_series(1, 50000) i) to out"
        sha256sum <out
        $psql -c 'create table copied (i int, hash bytea)' -c '\copy copied from out'
        $psql -c "select count(*), md5(string_agg(i || hash::text, ',' order by i)) from copied"
        $psql -c "select repeat('x', 20000000)" | sha256sum ;;
    close) for i in {1..10}; do $psql -c "select $i"; done ;;
    esac
    $psql -c 'select sum(tbalance) from pgbench_tellers except select sum(bbalance) from pgbench_branches'
    $psql -c "select 'done'""#;

const MARIADB: &str = "
    mariadb-install-db --no-defaults --datadir=$PWD/data --skip-test-db --auth-root-authentication-method=normal >install.log
    exec mariadbd --no-defaults --datadir=$PWD/data --socket=$PWD/socket --pid-file=$PWD/pid \
        --port=$PORT --bind-address=0.0.0.0 --skip-grant-tables --skip-name-resolve";

const MARIADB_CLIENT: &str = r#"
    at="--no-defaults --protocol=tcp -h $IP -P $PORT -u root"
    ask() {
        for i in $(seq $1); do echo "select $i, sha2($i, 256), repeat('x', $i);"; done |
            mariadb $at -N tried | sha256sum
    }
    slap() {
        mariadb-slap $at -a --concurrency=$1 --number-of-queries=$2 --create-schema=slapped | grep Number
    }
    case $MODE in
    first)
        mariadb $at -N -e 'create database if not exists tried'
        ask 20
        # Its answers grow with the table.
        slap 1 200 ;;
    keep)
        ask 500
        slap 4 400 ;;
    large)
        mariadb $at -N -e "select repeat('x', 10000000)" | sha256sum
        echo "select sha2('$(head -c 3000000 /dev/zero | tr '\0' x)', 256)" | mariadb $at -N ;;
    close) for i in {1..10}; do mariadb $at -N -e "select $i"; done ;;
    esac
    echo done"#;

const REDIS: &str = "exec redis-server --port $PORT --bind 0.0.0.0 --protected-mode no --save '' \
     --enable-debug-command yes";

const REDIS_CLIENT: &str = r#"
    at="-h $IP -p $PORT"
    bench() { redis-benchmark $at -q "$@" >bench.log 2>&1; ! grep -i error bench.log; }
    case $MODE in
    first)
        for size in $SIZES; do redis-cli $at -x set "file:$size" <$size; done
        bench -c 8 -n 200 -t ping,set,get
        bench -c 8 -n 2000 -P 16 incr counted ;;
    keep)
        bench -c 8 -n 2000 -t ping,set,get
        bench -c 8 -n 4000 -P 16 incr counted ;;
    large)
        bench -c 4 -n 100 -d 100000 -t set,get
        seq 20000 | awk '{ print "SET key:" $1 " " $1 * $1 }' | redis-cli $at --pipe | grep -o 'errors.*'
        for size in $SIZES; do
            redis-cli $at -x set "file:$size" <$size
            redis-cli $at --raw get "file:$size" | sha256sum
        done ;;
    close) bench -k 0 -c 8 -n 500 -t get ;;
    esac
    redis-cli $at get counted
    redis-cli $at --no-raw debug digest"#;

const MEMCACHED_CLIENT: &str = r#"
    at="--servers=$IP:$PORT"
    sizes=$(printf '%s\n' $SIZES | sort -nu)
    # Each call is a connection, and few are known by the first. What comes before the accept goes by TCP: the smallest.
    for call in $([ $MODE != first ] || seq 4) last; do
        memccp $at --set $sizes
        for size in $sizes; do memccat $at $size | sha256sum; done
    done
    [ $MODE != keep ] || memccat $at $SIZES $SIZES $SIZES | sha256sum
    memcexist $at 1024 && echo there"#;

const GRPC_GO: &str = "programs grpc-serve $LISTEN";
const ASK_GRPC_GO: &str = "programs grpc-ask $IP:$PORT $SIZES";

pub const ALL: &[Program] = &[
    Program::both("gRPC Go", MptcpListener, GRPC_GO, ASK_GRPC_GO),
    Program::both(
        "gRPC Java",
        NeverBlocks,
        "java programs.Grpc serve $PORT",
        "java programs.Grpc ask $IP $PORT $SIZES",
    ),
    Program::both(
        "gRPC Java, Go's client",
        NeverBlocks,
        "java programs.Grpc serve $PORT",
        ASK_GRPC_GO,
    ),
    Program::both(
        "grpcio",
        NeverBlocks,
        "python3 $SOURCES/python/rpc.py serve $PORT",
        "python3 $SOURCES/python/rpc.py ask $IP:$PORT $SIZES",
    ),
    Program::both("PostgreSQL, psql and pgbench", BlockingListener, POSTGRESQL, PSQL),
    Program::both(
        "PostgreSQL, JDBC",
        BlockingListener,
        POSTGRESQL,
        "java programs.Jdbc $IP $PORT $MODE $SIZES",
    ),
    Program::both("MariaDB", PollsFirst, MARIADB, MARIADB_CLIENT),
    Program::both("redis", NeverBlocks, REDIS, REDIS_CLIENT).short(),
    Program::both(
        "memcached",
        NeverBlocks,
        "exec memcached -p $PORT -l 0.0.0.0 -U 0 -I 8m",
        MEMCACHED_CLIENT,
    )
    .short(),
    Program::sidecars("Envoy, Go and Go", NeverBlocks, ORIGIN, ASK).short(),
    Program::sidecars("Envoy, Go and Go with MPTCP", MptcpListener, "programs web $LISTEN", ASK),
    Program::sidecars(
        "Envoy, OkHttp and Spring Boot",
        BlocksAtFirst,
        "java programs.Spring --server.port=8080",
        "java programs.Ask OkHttp $URL $MODE $ITEMS",
    ),
    Program::sidecars(
        "Envoy, requests and gunicorn",
        Sleeps,
        "python3 -m gunicorn --bind 0.0.0.0:8080 --worker-tmp-dir . --no-control-socket wsgi:app",
        "python3 $SOURCES/python/ask.py requests $URL $MODE $ITEMS",
    ),
    Program::sidecars(
        "Envoy, fetch and Vert.x",
        NeverBlocks,
        "java programs.Vertx epoll 8080",
        "node $SOURCES/js/ask.js fetch $URL $MODE $ITEMS",
    ),
    Program::sidecars(
        "Envoy, curl and puma",
        NeverBlocks,
        "puma --quiet --bind tcp://0.0.0.0:8080 $SOURCES/ruby/config.ru",
        "bash -eu $SOURCES/sh/curl $ITEMS",
    ),
    // redis-cli sleeps in recv.
    Program::sidecars("Envoy, redis", Sleeps, REDIS, REDIS_CLIENT).on(6379),
    Program::sidecars("Envoy, PostgreSQL", BlockingListener, POSTGRESQL, PSQL).on(5432),
];
