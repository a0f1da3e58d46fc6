// Meters one request, with standard input as the model: each line says how many tokens it generated so far.
//
//	printf '40\n131\n' | go run . 127.0.0.1:7402 accounts/acme/services/default-llama r1 812
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	meteringv1 "example.com/server/gen/tallygate/metering/v1"
	"example.com/server/tallygate"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: go run . HOST:PORT[,HOST:PORT...] SERVICE REQUEST_ID INPUT_TOKENS")
		os.Exit(64)
	}
	ctx := context.Background()
	meter := tallygate.New(tallygate.SecurityFromEnvironment(), strings.Split(os.Args[1], ",")...)
	err := serve(ctx, meter, os.Args[2], os.Args[3], os.Args[4])
	if closed := meter.Close(ctx); err == nil {
		err = closed
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, meter *tallygate.Meter, service, requestID, inputTokens string) error {
	input, err := strconv.ParseInt(inputTokens, 10, 64)
	if err != nil {
		return err
	}
	request, err := meter.Authorize(ctx, tallygate.Question{
		Service:   service,
		RequestID: requestID,
		Usage:     &meteringv1.TokenUsage{InputTokens: input},
	})
	if err != nil {
		return err
	}
	fmt.Printf("allowed: %d output tokens for now\n", request.FreeTokens())
	generateErr := generate(ctx, request)
	receipt, err := request.Finish(ctx, nil, generateErr != nil)
	if err != nil {
		return err
	}
	fmt.Printf("receipt: %d input and %d output tokens, %d nanos\n",
		receipt.Usage.InputTokens, receipt.Usage.OutputTokens, receipt.CostNanos)
	return generateErr
}

func generate(ctx context.Context, request *tallygate.Request) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		tokens, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return err
		}
		goOn, err := request.Progress(ctx, tokens, 0)
		if err != nil {
			return err
		}
		if !goOn {
			reason := "the last grant is used up"
			if denial := request.Denial(); denial != nil {
				reason = denial.Reason
			}
			fmt.Printf("stop: %s\n", reason)
			return nil
		}
		fmt.Printf("%d generated: %d more for now\n", tokens, request.FreeTokens())
	}
	return lines.Err()
}
