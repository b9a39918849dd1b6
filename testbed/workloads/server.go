// A key-value server in Go that speaks a part of redis' protocol (GET, SET, INCR, arrays of bulk strings only), to be recorded
// under the checked load of load.c. A goroutine for each connection, with buffers and counts of its own; a ticker makes
// garbage and has it collected now and then; the map has a lock.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	lock        sync.RWMutex
	values      = map[string]string{}
	connections int64
	requests    int64
)

// One request, e.g. *2 $3 GET $4 name, each on a line.
func readRequest(in *bufio.Reader) ([]string, error) {
	count, err := readNumber(in, '*')
	words := make([]string, 0, 3)
	for i := 0; i < count && err == nil; i++ {
		var size int
		if size, err = readNumber(in, '$'); err == nil {
			word := make([]byte, size+2)
			_, err = io.ReadFull(in, word)
			words = append(words, string(word[:size]))
		}
	}
	return words, err
}

func readNumber(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%q: expected %c", line, kind)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

func answer(words []string) string {
	switch {
	case len(words) == 3 && strings.EqualFold(words[0], "SET"):
		lock.Lock()
		values[words[1]] = words[2]
		lock.Unlock()
		return "+OK\r\n"
	case len(words) == 2 && strings.EqualFold(words[0], "GET"):
		lock.RLock()
		value, found := values[words[1]]
		lock.RUnlock()
		if !found {
			return "$-1\r\n"
		}
		return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	case len(words) == 2 && strings.EqualFold(words[0], "INCR"):
		lock.Lock()
		defer lock.Unlock()
		number, _ := strconv.Atoi(values[words[1]])
		values[words[1]] = strconv.Itoa(number + 1)
		return fmt.Sprintf(":%d\r\n", number+1)
	}
	return "-ERR unknown\r\n"
}

func serve(connection net.Conn) {
	defer connection.Close()
	defer atomic.AddInt64(&connections, -1)
	atomic.AddInt64(&connections, 1)
	in := bufio.NewReader(connection)
	for {
		words, err := readRequest(in)
		if err != nil {
			return
		}
		atomic.AddInt64(&requests, 1)
		if _, err = io.WriteString(connection, answer(words)); err != nil {
			return
		}
	}
}

func tick() {
	for turn := 0; ; turn++ {
		time.Sleep(50 * time.Millisecond)
		garbage := make([][]byte, 64)
		for i := range garbage {
			garbage[i] = make([]byte, 16<<10)
		}
		runtime.KeepAlive(garbage)
		if turn%20 == 0 {
			runtime.GC()
			fmt.Fprintf(os.Stderr, "%d requests, %d connections\n", atomic.LoadInt64(&requests), atomic.LoadInt64(&connections))
		}
	}
}

func main() {
	listener, err := net.Listen("tcp4", ":6379")
	if err != nil {
		log.Fatal(err)
	}
	go tick()
	for {
		if connection, err := listener.Accept(); err == nil {
			go serve(connection)
		}
	}
}
