// Reads and changes a record with the Go client of openapi-generator: main BASE_URL
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	gateway "github.com/GIT_USER_ID/GIT_REPO_ID"
)

const system = "itsm"
const id = "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e"

func check(holds bool, what ...any) {
	if !holds {
		fmt.Fprintln(os.Stderr, what...)
		os.Exit(1)
	}
}

func main() {
	base := os.Args[1]
	configuration := gateway.NewConfiguration()
	configuration.Servers = gateway.ServerConfigurations{{URL: base}}
	client, background := gateway.NewAPIClient(configuration), context.Background()

	get := func() *gateway.StoredRecord {
		record, response, err := client.RecordsAPI.GetRecord(background, system, id).Execute()
		check(err == nil && response.StatusCode == 200, "GET", err)
		check(record.Etag.IsSet() && *record.Etag.Get() == response.Header.Get("ETag"), "ETag", record)
		return record
	}
	patch := func(description, tag, prefer string) (*gateway.StoredRecord, *http.Response, error) {
		body := gateway.MergePatch{Fields: map[string]any{"Description": description}}
		call := client.RecordsAPI.UpdateRecord(background, system, id).IfMatch(tag).MergePatch(body)
		if prefer != "" {
			call = call.Prefer(prefer)
		}
		return call.Execute()
	}

	first := get()
	_, done, err := patch("Facilities, by openapi-generator (go)", *first.Etag.Get(), "")
	check(err == nil && done.StatusCode == 204, "204", err)

	shown, answer, err := patch("Facilities and rooms", *get().Etag.Get(), "return=representation")
	check(err == nil && answer.StatusCode == 200, "200", err)
	check(shown.Fields["Description"] == "Facilities and rooms", "200", shown)

	_, stale, err := patch("never", *first.Etag.Get(), "")
	var failure *gateway.GenericOpenAPIError
	check(stale.StatusCode == 412 && errors.As(err, &failure), "412", err)
	problem, isProblem := failure.Model().(gateway.Problem)
	check(isProblem && problem.Type == "/problems/precondition-failed", "problem", failure.Model())

	// Of the media types of a body openapi-generator uses the first alone, here the merge patch. Its method
	// therefore takes no JSON Patch; the client's own HTTPClient sends one.
	operations := `[{"op":"replace","path":"/fields/Description","value":"Facilities, by a JSON Patch"}]`
	request, err := http.NewRequest("PATCH", base+"/records/"+system+"/"+id, bytes.NewBufferString(operations))
	check(err == nil, err)
	request.Header.Set("If-Match", "*")
	request.Header.Set("Content-Type", "application/json-patch+json")
	patched, err := configuration.HTTPClient.Do(request)
	check(err == nil && patched.StatusCode == 204, "JSON Patch", err)
	check(get().Fields["Description"] == "Facilities, by a JSON Patch", "the JSON Patch")

	_, accepted, err := patch("Facilities, later", "*", "respond-async")
	check(accepted.StatusCode == 202, "202", err)

	fmt.Println("openapi-generator, go: 200, 204, 200 with the record, typed 412, JSON Patch, 202")
}
