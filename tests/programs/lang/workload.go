// Go: goroutines on several threads, channels, timers, maps and garbage; one checksum per step.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
	"time"
)

const workers = 8

type node struct {
	left, right *node
	value       uint64
}

func build(depth int, value uint64) *node {
	if depth == 0 {
		return &node{value: value}
	}
	return &node{build(depth-1, value*2), build(depth-1, value*2+1), value}
}

func (n *node) sum() uint64 {
	if n == nil {
		return 0
	}
	return n.value + 3*n.left.sum() + 5*n.right.sum()
}

// churn makes garbage of many sizes and returns a number that depends on all of it.
func churn(seed uint64) uint64 {
	counts := map[string]uint64{}
	x := seed*2862933555777941757 + 3037000493
	for i := 0; i < 10000; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		counts[fmt.Sprint(x%1500)] += x >> 40
	}
	keys := make([]string, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	sum := build(12, seed).sum()
	for _, key := range keys {
		sum = sum*31 + counts[key] + uint64(len(key))
	}
	return sum
}

func check(ok bool, message string, values ...any) {
	if !ok {
		fmt.Fprintf(os.Stderr, "FAIL "+message+"\n", values...)
		os.Exit(1)
	}
}

func step(number uint64, jobs chan uint64, results chan [2]uint64) uint64 {
	for i := uint64(0); i < 4*workers; i++ {
		jobs <- number*1000 + i
	}
	seen := map[uint64]uint64{}
	for i := 0; i < 4*workers; i++ {
		select {
		case result := <-results:
			_, double := seen[result[0]]
			check(!double, "expected result %d once, saw it twice", result[0])
			seen[result[0]] = result[1]
		case <-time.After(time.Hour):
			check(false, "expected a result, saw an hour pass")
		}
	}
	sum := uint64(0)
	for i := uint64(0); i < 4*workers; i++ {
		sum = sum*1000003 + seen[number*1000+i]
	}
	return sum
}

func main() {
	seconds := flag.Float64("seconds", 3, "about how long to run")
	flag.Parse()
	steps := uint64(*seconds*10) + 1
	runtime.GOMAXPROCS(4)

	jobs, results := make(chan uint64, 4*workers), make(chan [2]uint64)
	var group sync.WaitGroup
	for i := 0; i < workers; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for job := range jobs {
				value := churn(job)
				time.Sleep(time.Millisecond)
				check(churn(job) == value, "expected the same value of job %d twice", job)
				results <- [2]uint64{job, value}
			}
		}()
	}
	fmt.Println("ready")
	rolling := uint64(0)
	for number := uint64(0); number < steps; number++ {
		rolling = rolling*31 + step(number, jobs, results)
		fmt.Printf("step %d: %016x\n", number, rolling)
	}
	close(jobs)
	group.Wait()
	fmt.Println("ok")
}
