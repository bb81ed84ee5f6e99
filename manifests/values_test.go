package manifests

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// schema is as much of a JSON schema as the chart's uses.
type schema struct {
	Ref                  string            `json:"$ref"`
	Type                 any               `json:"type"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties any               `json:"additionalProperties"`
	Items                *schema           `json:"items"`
	Definitions          map[string]schema `json:"definitions"`
}

func chartSchema(t *testing.T) schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal(chartFile(t, "values.schema.json"), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func chartValues(t *testing.T) map[string]any {
	t.Helper()
	var values map[string]any
	if err := yaml.UnmarshalStrict(chartFile(t, "values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

func chartFile(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.ReadFile("chart/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What the schema knows has a default and a comment to go with it, and what
// values.yaml has the schema knows: Helm refuses every other value.
func TestSchemaAndValuesHaveTheSameKeys(t *testing.T) {
	s := chartSchema(t)
	delete(s.Properties, "global") // Helm's own
	values := slices.Sorted(maps.Keys(leafs("", chartValues(t))))
	known := slices.Sorted(maps.Keys(s.leafs("")))
	if diff := cmp.Diff(values, known); diff != "" {
		t.Errorf("values.yaml and its schema (-values +schema)\n%s", diff)
	}
}

// Helm refuses a value that the chart does not know, so a document that names one
// leads to an error.
func TestDocumentsNameValuesThatExist(t *testing.T) {
	known := leafs("", chartValues(t))
	exists := func(path string) bool {
		for leaf := range known {
			if leaf == path || strings.HasPrefix(leaf, path+".") || freeform(leaf) && strings.HasPrefix(path, leaf+".") {
				return true
			}
		}
		return false
	}
	parts := strings.Join(slices.Sorted(maps.Keys(chartValues(t))), "|")
	named := regexp.MustCompile("`(?:--set )?((?:" + parts + `)\.[A-Za-z.]+)`)
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, document := range append(documents, "../README.md", "chart/files/rules.yaml") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			if found++; !exists("." + match[1]) {
				t.Errorf("%s names %s, which is no value of the chart", document, match[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("%d values found in the documents", found)
	}
}

// leafs are the paths of values that hold no values of ours.
func leafs(path string, value any) map[string]any {
	object, ok := value.(map[string]any)
	if !ok || freeform(path) {
		return map[string]any{path: value}
	}
	out := map[string]any{}
	for key, v := range object {
		maps.Copy(out, leafs(path+"."+key, v))
	}
	return out
}

// freeform are values whose keys are the user's, not ours.
func freeform(path string) bool {
	return slices.ContainsFunc([]string{".resources", ".nodeSelector", ".podAnnotations", ".labels"}, func(end string) bool { return strings.HasSuffix(path, end) })
}

func (s schema) leafs(path string) map[string]bool {
	if s.Type != "object" || freeform(path) {
		return map[string]bool{path: true}
	}
	out := map[string]bool{}
	for key, property := range s.Properties {
		maps.Copy(out, property.leafs(path+"."+key))
	}
	return out
}

// A misspelled value is refused on every level: each object of ours says that it
// is complete, or what its values are.
func TestSchemaIsStrict(t *testing.T) {
	open := map[string]bool{
		// Helm's own, and parts of Kubernetes' API that the API server checks.
		".global": true,
		".networkPolicy.metricsFrom[].namespaceSelector": true,
		".networkPolicy.metricsFrom[].podSelector":       true,
		".networkPolicy.metricsFrom[].ipBlock":           true,
	}
	s := chartSchema(t)
	var check func(path string, s schema)
	check = func(path string, part schema) {
		if name, ok := strings.CutPrefix(part.Ref, "#/definitions/"); ok {
			part = s.Definitions[name]
		}
		if part.Type == "object" && part.AdditionalProperties == nil && !open[path] {
			t.Errorf("%s lets any key pass", path)
		}
		for key, property := range part.Properties {
			check(path+"."+key, property)
		}
		if part.Items != nil {
			check(path+"[]", *part.Items)
		}
	}
	check("", s)
}

// everything.values.yaml is what every branch of the templates is tried with.
func TestEverythingSetsWhatIsEmpty(t *testing.T) {
	var everything map[string]any
	file, err := os.ReadFile("testdata/everything.values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(file, &everything); err != nil {
		t.Fatal(err)
	}
	set := leafs("", everything)
	// In files.values.yaml and monitoring.values.yaml.
	elsewhere := []string{".certificates.files.secretName", ".certificates.files.caBundle", ".podMonitor.interval", ".prometheusRule.runbookBase"}
	for path, value := range leafs("", chartValues(t)) {
		text, isText := value.(string)
		list, isList := value.([]any)
		empty := isText && text == "" || isList && len(list) == 0
		exclusive := path == ".image.tag" // the digest wins
		if _, ok := set[path]; empty && !ok && !exclusive && !slices.Contains(elsewhere, path) {
			t.Errorf("%s is set in no variant", path)
		}
	}
}

// Documentation outlives the values that it names.
func TestDocsNameValuesThatThereAre(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	known := slices.Sorted(maps.Keys(chartSchema(t).leafs("")))
	named := regexp.MustCompile("(?:`|--set )((?:watcher|webhook|certificates|networkPolicy)[.][A-Za-z.]+)")
	count := 0
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			count++
			value := "." + match[1]
			if !slices.ContainsFunc(known, func(leaf string) bool { return leaf == value || strings.HasPrefix(leaf, value+".") }) {
				t.Errorf("%s names the value %s, which the chart does not have", file, match[1])
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d values are named: is this still how?", count)
	}
}
