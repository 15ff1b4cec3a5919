// Sends requests with Go's net/http, and prints a line for each case: its name and the result.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

var client = &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second}}

func ask(name, method, url string, body io.Reader, headers ...string) {
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		log.Fatal(err)
	}
	for index := 0; index < len(headers); index += 2 {
		request.Header.Set(headers[index], headers[index+1])
	}
	answer, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\t%d\t%t\n", name, answer.StatusCode, strings.Contains(string(text), "setosa"))
}

func main() {
	predict, row := os.Args[1]+"/predict", os.Args[2]
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	writer.Write([]byte(row))
	writer.Close()
	features := strings.TrimSuffix(strings.TrimPrefix(row, `{"features":`), "}")
	many := `{"instances":[` + strings.Repeat(features+",", 999) + features + "]}"
	ask("POST", "POST", predict, strings.NewReader(row))
	ask("kept open", "POST", predict, strings.NewReader(row))
	ask("chunked", "POST", predict, struct{ io.Reader }{strings.NewReader(row)})
	ask("gzip", "POST", predict, &packed, "Content-Encoding", "gzip")
	ask("gzip answer", "POST", predict, strings.NewReader(many))
	ask("HEAD", "HEAD", os.Args[1]+"/health/ready", nil)
	ask("OPTIONS", "OPTIONS", predict, nil)
	ask("Expect", "POST", predict, strings.NewReader(row), "Expect", "100-continue")
}
