package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
)

// serveTunnels answers requests, and CONNECT with a tunnel to the address that it names.
func serveTunnels(at string) error {
	return http.ListenAndServe(at, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodConnect {
			fmt.Fprintln(answer, "no tunnel")
			return
		}
		up, err := net.Dial("tcp", request.Host)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadGateway)
			return
		}
		down, buffered, err := http.NewResponseController(answer).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(buffered, "HTTP/1.1 200 OK\r\n\r\n")
		buffered.Flush()
		io.CopyN(up, buffered, int64(buffered.Reader.Buffered()))
		go pass(down, up)
		pass(up, down)
	}))
}
