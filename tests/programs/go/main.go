// The small programs of Go's, one executable: `programs web :8080`.
package main

import (
	"log"
	"os"
)

func main() {
	does := map[string]func(...string) error{
		"web": web, "ask": ask, "relay": relay, "grpc-serve": grpcServe, "grpc-ask": grpcAsk,
	}
	if err := does[os.Args[1]](os.Args[2:]...); err != nil {
		log.Fatal(err)
	}
}
