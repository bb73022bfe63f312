//! Servers, asked by Go's net/http over an event loop.

use crate::program::{
    ASK_WHOLE, GET, Program,
    Reader::{BlockingListener, CountsUnread, MptcpListener, NeverBlocks, Sleeps, ToAndFro},
};

pub const ALL: &[Program] = &[
    Program::server("Go net/http", MptcpListener, "programs web $LISTEN").short(),
    Program::server(
        "Go net/http, multipathtcp=0",
        NeverBlocks,
        "GODEBUG=multipathtcp=0 programs web $LISTEN",
    ),
    Program::server(
        "Spring Boot (Tomcat)",
        BlockingListener,
        "java programs.Spring --server.port=8080",
    )
    .short(),
    Program::server("JDK com.sun HttpServer", ToAndFro, "java programs.Sun 8080"),
    Program::server("Vert.x (Netty NIO)", NeverBlocks, "java programs.Vertx nio 8080"),
    Program::server("Vert.x (Netty epoll)", NeverBlocks, "java programs.Vertx epoll 8080"),
    Program::server("Node http", NeverBlocks, "node $SOURCES/js/web.js 8080"),
    Program::server("aiohttp (asyncio)", NeverBlocks, "python3 $SOURCES/python/aio.py 8080"),
    Program::server(
        "uvicorn",
        NeverBlocks,
        "python3 -m uvicorn --host 0.0.0.0 --port 8080 --log-level warning asgi:app",
    ),
    Program::server(
        "granian",
        NeverBlocks,
        "python3 -m granian --interface asgi --host 0.0.0.0 --port 8080 asgi:app",
    ),
    Program::server(
        "gunicorn sync",
        Sleeps,
        "python3 -m gunicorn --bind 0.0.0.0:8080 --worker-tmp-dir . --no-control-socket wsgi:app",
    )
    .short(),
    Program::server("Flask", Sleeps, "python3 $SOURCES/python/flasked.py 8080"),
    Program::server(
        "puma",
        NeverBlocks,
        "puma --quiet --bind tcp://0.0.0.0:8080 $SOURCES/ruby/config.ru",
    ),
    Program::server("PHP built-in", NeverBlocks, "php8.2 -S 0.0.0.0:8080 $SOURCES/php/index.php"),
    Program::server(
        "uWSGI",
        NeverBlocks,
        "uwsgi_python311 --http11-socket :8080 --wsgi-file $SOURCES/python/wsgi.py \
         --callable app --processes 8 --die-on-term",
    )
    .asked(ASK_WHOLE),
    Program::server(
        "Apache httpd event",
        NeverBlocks,
        "ORIGIN=127.0.0.1:1 apache2 -d $PWD -f $SOURCES/conf/apache.conf -DFOREGROUND",
    )
    .asked(GET),
    Program::server(
        "nginx",
        CountsUnread,
        "sed s/origin:8082/127.0.0.1:1/ $SOURCES/conf/nginx.conf >nginx.conf
         nginx -e stderr -p $PWD/ -c nginx.conf",
    )
    .asked(GET),
];
