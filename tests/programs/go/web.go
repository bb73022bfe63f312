package main

import (
	"io"
	"net/http"
	"os"
)

// web serves files of its folder: `web :8080`.
func web(args ...string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, r.PathValue("name"))
	})
	mux.HandleFunc("GET /chunked/{name}", func(w http.ResponseWriter, r *http.Request) {
		file, err := os.Open(r.PathValue("name"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer file.Close()
		w.(http.Flusher).Flush()
		io.Copy(struct{ io.Writer }{w}, file)
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	return http.ListenAndServe(args[0], mux)
}
