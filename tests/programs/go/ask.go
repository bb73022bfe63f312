package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// ask gets what is named, and posts the files after a `+`, on one connection and then on four at a
// time, or on one, or on a new one for each: `ask http://IP:8080 first|keep|close ITEM…`.
func ask(args ...string) error {
	url, keep, items := args[0], args[1] != "close", args[2:]
	turns := []int{1}
	if keep && args[1] != "first" {
		turns = []int{1, 4}
	}
	for _, workers := range turns {
		said := make(chan string)
		for range workers {
			go func() {
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: !keep}}
				text := ""
				for _, item := range items {
					text += fetch(client, url, item)
					if workers == 1 {
						fmt.Print(text)
						text = ""
					}
				}
				said <- text
			}()
		}
		for range workers {
			fmt.Print(<-said)
		}
	}
	return nil
}

func fetch(client *http.Client, url, item string) string {
	method, path, body := "GET", "/"+item, io.Reader(nil)
	if name, posted := strings.CutPrefix(item, "+"); posted {
		file, _ := os.ReadFile(strings.TrimPrefix(name, "chunked/"))
		method, path, body = "POST", "/", bytes.NewReader(file)
		if strings.HasPrefix(name, "chunked/") {
			body = struct{ io.Reader }{body}
		}
	}
	request, _ := http.NewRequest(method, url+path, body)
	response, err := client.Do(request)
	if err != nil {
		return fmt.Sprintln(item, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		return fmt.Sprintln(item, response.Status, err)
	}
	return fmt.Sprintf("%s %d %x\n", item, len(answer), sha256.Sum256(answer))
}
