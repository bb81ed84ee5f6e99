package jsonread

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	kjson "sigs.k8s.io/json"
)

// thing has a field of each kind, so that what Read makes of any text can be
// held against what the API server's decoder makes of it.
type thing struct {
	Name    string            `json:"name"`
	Flag    bool              `json:"flag"`
	Count   int64             `json:"count"`
	Maybe   *bool             `json:"maybe"`
	Labels  map[string]string `json:"labels"`
	Inner   *inner            `json:"inner"`
	Things  []thing           `json:"things"`
	Strings []string          `json:"strings"`
}

type inner struct {
	Text *string `json:"text"`
}

func (t *thing) read(r *Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "name":
			r.String(&t.Name)
		case "flag":
			r.Bool(&t.Flag)
		case "count":
			r.Int(&t.Count)
		case "maybe":
			Pointer(r, &t.Maybe, r.Bool)
		case "labels":
			r.Strings(&t.Labels, nil)
		case "inner":
			Pointer(r, &t.Inner, func(i *inner) {
				r.Member("text", func() { Pointer(r, &i.Text, r.String) })
			})
		case "things":
			List(r, &t.Things, func(t *thing) { t.read(r) })
		case "strings":
			List(r, &t.Strings, r.String)
		default:
			r.Skip()
		}
	})
}

func read(text []byte) (thing, error) {
	var t thing
	err := Read(text, t.read)
	return t, err
}

// compare holds Read against the API server's decoder: the same content, or an
// error from both, of syntax or not.
func compare(t *testing.T, text []byte) {
	t.Helper()
	got, err := read(text)
	var want thing
	wantErr := kjson.UnmarshalCaseSensitivePreserveInts(text, &want)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%s\nerror %v, want %v", cut(text), err, wantErr)
	}
	if err != nil {
		isSyntax, _ := kjson.SyntaxErrorOffset(wantErr)
		if errors.Is(err, ErrSyntax) != isSyntax {
			t.Fatalf("%s\nerror %v, want %v", cut(text), err, wantErr)
		}
		return
	}
	if !reflect.DeepEqual(want, got) { // cmp takes minutes for the deepest
		t.Fatalf("%s\n(-want +got):\n%s", cut(text), cmp.Diff(want, got))
	}
}

func cut(text []byte) string { return string(text[:min(len(text), 2000)]) }

// texts are those on which decoders differ.
var texts = map[string]string{
	"nothing":                           ``,
	"spaces":                            " \n\t",
	"null":                              `null`,
	"an empty object":                   `{}`,
	"all fields":                        `{"name":"a","flag":true,"count":7,"maybe":false,"labels":{"a":"b"},"inner":{"text":"x"},"things":[{"name":"b"}],"strings":["a","b"]}`,
	"spaces everywhere":                 " { \"name\" :\t\"a\" ,\r\n\"strings\" : [ \"a\" , \"b\" ] } ",
	"unknown fields":                    `{"other":{"name":"x","deep":[1,2,{"a":null}]},"name":"a","more":[[[]]]}`,
	"names in another case":             `{"Name":"a","NAME":"b","Things":[{}]}`,
	"names with escapes":                `{"n\u0061me":"a","l\u0061bels":{"\u0061":"b"}}`,
	"values with escapes":               `{"name":"\"\\\/\b\f\n\r\té😀","labels":{"a\nb":"c\td"}}`,
	"half a surrogate":                  `{"name":"\ud800","labels":{"\udc00x":"\ud800\ud800"}}`,
	"invalid UTF-8":                     "{\"name\":\"a\xff\xfeb\",\"labels\":{\"\xc3\":\"\xe2\x82\"}}",
	"invalid UTF-8 in an unknown field": "{\"x\xff\":\"\xff\"}",
	"a control character in a string":   "{\"name\":\"a\x01\"}",
	"an unknown escape":                 `{"name":"\x"}`,
	"nulls":                             `{"name":null,"flag":null,"maybe":null,"labels":null,"inner":null,"things":null,"strings":null}`,
	"nulls inside":                      `{"labels":{"a":null},"inner":{"text":null},"things":[null,{}],"strings":[null,"a"]}`,
	"nulls after values":                `{"name":"a","name":null,"maybe":true,"maybe":null,"labels":{"a":"b"},"labels":null,"inner":{"text":"x"},"inner":null,"things":[{}],"things":null}`,
	"a name twice":                      `{"name":"a","name":"b","flag":true,"flag":false}`,
	"an object twice":                   `{"inner":{"text":"x"},"inner":{"other":1},"labels":{"a":"1","b":"2"},"labels":{"b":"3"}}`,
	"a list twice":                      `{"things":[{"name":"a","flag":true},{"name":"b"}],"things":[{"name":"c"}]}`,
	"a list thrice":                     `{"things":[{"name":"a"},{"name":"b"},{"flag":true}],"things":[],"things":[{},{},{},{}]}`,
	"empty lists":                       `{"things":[],"strings":[],"labels":{}}`,
	"an object for a string":            `{"name":{}}`,
	"a number for a string":             `{"name":1}`,
	"a string for a flag":               `{"flag":"true"}`,
	"a string for a number":             `{"count":"1"}`,
	"a whole number":                    `{"count":-9223372036854775808}`,
	"a whole number that is too large":  `{"count":9223372036854775808,"name":"a"}`,
	"minus zero":                        `{"count":-0}`,
	"a number with a fraction":          `{"count":1.0,"name":"a"}`,
	"a number with an exponent":         `{"count":1e3}`,
	"null after a number":               `{"count":7,"count":null}`,
	"a list for an object":              `{"inner":[],"name":"a"}`,
	"an object for a list":              `{"things":{}}`,
	"a number in a map":                 `{"labels":{"a":1}}`,
	"a number for everything":           `7`,
	"a string for everything":           `"name"`,
	"a wrong value, then no JSON":       `{"name":1,}`,
	"big numbers":                       `{"x":123456789012345678901234567890,"y":1e999999,"z":-0.0E-0}`,
	"numbers that are none":             `{"x":01}`,
	"another value behind":              `{} {}`,
	"a brace too many":                  `{}}`,
	"a comma too many":                  `{"name":"a",}`,
	"a comma too many in a list":        `{"strings":["a",]}`,
	"a colon that lacks":                `{"name" "a"}`,
	"a name without quotes":             `{name:"a"}`,
	"a name that is a number":           `{1:"a"}`,
	"a string that breaks off":          `{"name":"a`,
	"an object that breaks off":         `{"name":"a"`,
	"a list that breaks off":            `{"strings":["a"`,
	"a member that breaks off":          `{"name":`,
	"a list that ends as an object":     `{"strings":["a"}}`,
	"a byte order mark":                 "\ufeff{}",
	"a comment":                         `{/**/}`,
	"a NUL":                             "{}\x00",
	"true that is none":                 `{"flag":tru}`,
	"depth within bounds":               strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999),
	"depth at the bound":                strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
	"depth beyond the bound":            strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
	"depth at the bound in a field":     `{"x":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `}`,
	"depth beyond the bound in a field": `{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
	"objects as deep as the bound":      strings.Repeat(`{"x":`, 10_000) + "1" + strings.Repeat("}", 10_000),
	"objects beyond the bound":          strings.Repeat(`{"x":`, 10_001) + "1" + strings.Repeat("}", 10_001),
	"fields as deep as the bound":       strings.Repeat(`{"things":[`, 5_000) + strings.Repeat("]}", 5_000),
	"fields beyond the bound":           strings.Repeat(`{"things":[`, 5_000) + "{}" + strings.Repeat("]}", 5_000),
	"depth without an end":              strings.Repeat("[", 100_000),
	"fields without an end":             strings.Repeat(`{"things":[`, 100_000),
}

func TestReadsAsTheAPIServerDoes(t *testing.T) {
	for name, text := range texts {
		t.Run(name, func(t *testing.T) { compare(t, []byte(text)) })
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range texts {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(compare)
}

func TestRawIsAPartOfTheText(t *testing.T) {
	text := []byte(` {"a" : {"x": [1, 2]} , "b":"\u00e9", "c":7,"d": null}`)
	got := map[string]string{}
	err := Read(text, func(r *Reader) {
		r.Object(func(name []byte) {
			key := string(name)
			got[key] = string(r.Raw())
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": `{"x": [1, 2]}`, "b": `"\u00e9"`, "c": "7", "d": "null"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStringsKeepsWhatIsAskedFor(t *testing.T) {
	tests := map[string]struct {
		text    string
		want    map[string]string
		wantErr string
	}{
		"only what is ours":           {`{"ours/a":"1","b":"2","ours/c":"3"}`, map[string]string{"ours/a": "1", "ours/c": "3"}, ""},
		"none":                        {`{"b":"2"}`, map[string]string{}, ""},
		"what is dropped is a string": {`{"b":2}`, nil, "/b is not a string"},
		"what is dropped may be null": {`{"b":null}`, map[string]string{}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got map[string]string
			err := Read([]byte(tc.text), func(r *Reader) {
				r.Strings(&got, func(name []byte) bool { return strings.HasPrefix(string(name), "ours/") })
			})
			if tc.wantErr != "" {
				if err == nil || err.Error() != tc.wantErr {
					t.Errorf("error %v, want %s", err, tc.wantErr)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestErrorTellsThePlace(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"the whole":            {`7`, "it is not an object"},
		"a field":              {`{"name":1}`, "/name is not a string"},
		"an element":           {`{"things":[{},{"flag":"x"}]}`, "/things/1/flag is not true or false"},
		"the first of several": {`{"flag":1,"name":1}`, "/flag is not true or false"},
		"a list":               {`{"things":7}`, "/things is not a list"},
		"a list without end":   {`{"things":[{}` + strings.Repeat(",{}", maxElements) + `]}`, "/things/9999 is one of more than 10000 elements"},
		"a name of any length": {`{"labels":{"` + strings.Repeat("x", 1000) + `":1}}`, "/labels/" + strings.Repeat("x", 192) + "… is not a string"},
		"syntax":               {`{"name":1`, "is not JSON"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := read([]byte(tc.text)); err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

// What is skipped costs nothing but the time to pass over it.
func TestSkippedFieldsAreNotCopied(t *testing.T) {
	allocations := func(elements int) float64 {
		text := []byte(`{"name":"a","other":{"list":[` + strings.Repeat(`{"key":"valu\u00e9","n":[1,2.5,null]},`, elements) + `0]},"strings":["a"]}`)
		return testing.AllocsPerRun(20, func() {
			if _, err := read(text); err != nil {
				t.Error(err)
			}
		})
	}
	// Under the race detector a sync.Pool drops what it is given now and then, and
	// the Reader is then made anew: a few allocations more, for none of the elements.
	const slack = 100
	if few, many := allocations(1), allocations(10_000); many > few+slack {
		t.Errorf("%v allocations beside 10,000 elements that are not read, %v beside one", many, few)
	}
}
