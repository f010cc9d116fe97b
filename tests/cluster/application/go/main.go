// An application of Go with a provider's URL in its code.
//
// Prints what came back as one line of JSON. The document and the question are in its environment.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const url = "https://api.openai.com/v1"

func main() {
	client := openai.NewClient(
		option.WithBaseURL(url),
		option.WithAPIKey("key-of-the-application"),
		option.WithMaxRetries(0),
	)
	var response *http.Response
	completion, err := client.Chat.Completions.New(context.Background(), openai.ChatCompletionNewParams{
		Model: "any-model",
		Messages: []openai.ChatCompletionMessageParamUnion{
			openai.UserMessage(os.Getenv("DOCUMENT")),
			openai.UserMessage(os.Getenv("QUESTION")),
		},
	}, option.WithResponseInto(&response))
	if err != nil {
		log.Fatal(err)
	}
	headers := map[string]string{}
	for name, values := range response.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-liquid-") {
			headers[name] = values[0]
		}
	}
	answer := map[string]any{"base_url": url, "headers": headers, "text": completion.Choices[0].Message.Content}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		log.Fatal(err)
	}
}
