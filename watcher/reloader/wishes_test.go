package reloader

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// on is annotations in short: key, value, key, value.
func on(pairs ...string) map[string]string {
	annotations := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		annotations[pairs[i]] = pairs[i+1]
	}
	return annotations
}

var match, ignore = Marks{Match: true}, Marks{Ignore: true}

// Each row of the contract, in its order, for Secrets and classes alike.
func TestFollows(t *testing.T) {
	tests := map[string]struct {
		workload, template map[string]string
		marks              Marks
		secret, class      Follow // how the workload stands to the object app
	}{
		"without an annotation nothing is followed":       {},
		"nor with annotations of others":                  {workload: on("keyroll.dev/restart-on", "auto", "example.com/auto", "true")},
		"nor by what Reloader itself has written":         {template: on(LastReloadedFrom, `{"name":"app"}`), workload: on(PausedAt, "2026-01-01")},
		"an object that says ignore is never followed":    {workload: on(Auto, "true", SecretReload, "app", ClassReload, "app"), marks: ignore, secret: Excluded, class: Excluded},
		"ignore counts only as true":                      {workload: on(Auto, "true"), marks: MarksOf(on(Ignore, "True")), secret: Used, class: Used},
		"a workload that says ignore follows nothing":     {workload: on(Auto, "true", Ignore, "true")},
		"a template that says ignore follows nothing":     {workload: on(Auto, "true"), template: on(Ignore, "true")},
		"the template speaks where the workload does not": {template: on(Auto, "true"), secret: Used, class: Used},
		"a key on the workload silences the template, even with false": {
			workload: on(Auto, "false"), template: on(Auto, "true", SecretReload, "app", ClassReload, "app"),
		},
		"an empty value silences it too": {workload: on(Search, ""), template: on(Auto, "true")},
		"a key of one kind does not silence the template for the other": {
			workload: on(SecretReload, "other"), template: on(Auto, "true"), class: Used,
		},
		"a list of exclusions does not silence the template": {
			workload: on(SecretExclude, "other"), template: on(Auto, "true"), secret: Used, class: Used,
		},
		"an exclusion beats an explicit name": {
			workload: on(SecretReload, "app", SecretExclude, "app", ClassReload, "app", ClassExclude, "x, app"), secret: Excluded, class: Excluded,
		},
		"an exclusion is an exact name":                     {workload: on(Auto, "true", SecretExclude, "a.*", ClassExclude, "ap"), secret: Used, class: Used},
		"an exclusion on the template counts":               {workload: on(Auto, "true"), template: on(SecretExclude, "app"), secret: Excluded, class: Used},
		"a name in the list":                                {workload: on(SecretReload, "other, app"), secret: Named},
		"a name in the class list":                          {workload: on(ClassReload, "app,other"), class: Named},
		"another name":                                      {workload: on(SecretReload, "app2", ClassReload, "ap")},
		"a regular expression":                              {workload: on(SecretReload, "a.*", ClassReload, "[a-z]{3}"), secret: Named, class: Named},
		"a quotation that is not closed":                    {workload: on(SecretReload, `\Qapp`), secret: Named},
		"which must match all of the name":                  {workload: on(SecretReload, "a.", ClassReload, ".p")},
		"an alternation is one expression":                  {workload: on(SecretReload, "x|app", ClassReload, "apple|snapp"), secret: Named},
		"a list of names is not bounded as expressions are": {workload: on(SecretReload, strings.Repeat(strings.Repeat("x", 250)+",", 100)+"app"), secret: Named},
		"an invalid expression is skipped":                  {workload: on(SecretReload, "(,app", ClassReload, "a)|(?:pp"), secret: Named},
		"an empty element names nothing":                    {workload: on(SecretReload, "", ClassReload, ",,")},
		"search follows what says match":                    {workload: on(Search, "true"), marks: match, secret: Used, class: Used},
		"search alone does not":                             {workload: on(Search, "true")},
		"match alone does not":                              {workload: on(Search, "false"), marks: match},
		"search is true or nothing":                         {workload: on(Search, "True"), marks: match},
		"match is true or nothing":                          {workload: on(Search, "true"), marks: MarksOf(on(Match, "1"))},
		"auto follows what is used":                         {workload: on(Auto, "true"), secret: Used, class: Used},
		"auto takes every form of true":                     {workload: on(Auto, "T"), secret: Used, class: Used},
		"auto of another form is none":                      {workload: on(Auto, "yes")},
		"auto for Secrets":                                  {workload: on(SecretAuto, "true"), secret: Used},
		"auto for classes":                                  {workload: on(ClassAuto, "1"), class: Used},
		"auto false does not hinder auto of a kind":         {workload: on(Auto, "false", SecretAuto, "true"), secret: Used},
		"auto false does not hinder an explicit name":       {workload: on(Auto, "false", ClassReload, "app"), class: Named},
		"a name beats auto":                                 {workload: on(Auto, "true", SecretReload, "app"), secret: Named, class: Used},
		"ConfigMaps are another matter":                     {workload: on(ConfigMapAuto, "true", ConfigMapReload, "app")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var secret, class Follow
			if w := Parse(test.workload, test.template); w != nil {
				secret, class = w.Secrets.Follows("app", test.marks), w.Classes.Follows("app", test.marks)
			}
			if secret != test.secret || class != test.class {
				t.Errorf("Secret %d, class %d; want %d, %d", secret, class, test.secret, test.class)
			}
		})
	}
}

func TestMarksAreUnited(t *testing.T) {
	if got, want := match.Or(ignore), (Marks{true, true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What is told of an element besides what is wrong with it.
const (
	mend  = "write the name, or RE2 syntax, in which .* stands for any characters"
	ascii = "speaks of characters that no name has: names have a to z, 0 to 9, dots and dashes"
)

func TestUnmet(t *testing.T) {
	tests := map[string]struct {
		workload, template map[string]string
		want               []Unmet
		configMaps         string
	}{
		"nothing is lacking where all is honored": {
			workload: on(SecretReload, "a,b-[0-9]+", SecretExclude, "c", ClassAuto, "false"),
		},
		"ConfigMaps that are used and may say match": {
			workload: on(Search, "true"), configMaps: Search,
		},
		"auto is told of before search": {
			workload: on(Search, "true", Auto, "true"), configMaps: Auto,
		},
		"ConfigMaps by name": {
			workload: on(ConfigMapReload, "app-config", ConfigMapExclude, "x"),
			want:     []Unmet{{ConfigMapReload, "ConfigMaps are not followed"}},
		},
		"ConfigMaps that are used, which only the template tells": {
			workload: on(ConfigMapAuto, "true"), configMaps: ConfigMapAuto,
		},
		"by the generic auto too": {template: on(Auto, "true"), configMaps: Auto},
		"but not where a key of theirs on the workload says otherwise": {
			workload: on(ConfigMapAuto, "false", SecretAuto, "true"), template: on(Auto, "true"),
		},
		"other ways to roll, wherever they stand": {
			workload: on(PausePeriod, "5m"), template: on(RolloutStrategy, "restart"),
			want: []Unmet{
				{PausePeriod, "the Deployment is not paused; --settle gathers changes, --min-interval keeps rollouts apart"},
				{RolloutStrategy, "a workload is rolled by a new pod template, never by a restart alone"},
			},
		},
		"a key of a later or another version": {
			workload: on(domain+"/restart-window", "{}", "job."+domain+"/x", "y"),
			want:     []Unmet{{"job." + domain + "/x", "is not known here"}, {domain + "/restart-window", "is not known here"}},
		},
		"the same in two places is told once": {
			workload: on(ConfigMapReload, "a"), template: on(ConfigMapReload, "a"),
			want: []Unmet{{ConfigMapReload, "ConfigMaps are not followed"}},
		},
		"values that are none": {
			workload: on(Auto, "yes", Search, "True"),
			want:     []Unmet{{Auto, "neither true nor false"}, {Search, `only "true" counts`}},
		},
		"bad elements, and the rest holds": {
			workload: on(SecretReload, "(,app,*-tls,app-(?!old).*,"+strings.Repeat("x", 60)+"ü"),
			want: []Unmet{
				{SecretReload, `"(" is no regular expression (missing closing )): ` + mend},
				{SecretReload, `"*-tls" is no regular expression (missing argument to repetition operator): ` + mend},
				{SecretReload, `"app-(?!old).*" is no regular expression (invalid or unsupported Perl syntax): ` + mend},
				{SecretReload, `"` + strings.Repeat("x", maxEcho) + `..." ` + ascii},
			},
		},
		"an element that would break out of its group": {
			workload: on(ClassReload, "a)|(?:b"),
			want:     []Unmet{{ClassReload, `"a)|(?:b" is no regular expression (unexpected )): ` + mend}},
		},
		"classes of characters that no name has, which take seconds to parse": {
			workload: on(SecretReload, `(?i)[B-\x{1E900}],\pL+,\PN`),
			want: []Unmet{
				{SecretReload, `"(?i)[B-\\x{1E900}]" ` + ascii},
				{SecretReload, `"\\pL+" ` + ascii},
				{SecretReload, `"\\PN" ` + ascii},
			},
		},
		"expressions that would take too much, alone or together": {
			workload: on(SecretReload, "(a{100}){101},((a{10}){10}){9},a{200},b{200},app-.*,"+strings.Repeat("x", maxSize)+"."),
			want: []Unmet{
				{SecretReload, `"(a{100}){101}" is no regular expression (invalid repeat count): ` + mend},
				{SecretReload, `"((a{10}){10}){9}" ` + errTooLarge.Error()},
				{SecretReload, `"b{200}" ` + errTooLarge.Error()},
				{SecretReload, `"` + strings.Repeat("x", maxEcho) + `..." ` + errTooLarge.Error()},
			},
		},
		"what all lists take is bounded together": {
			workload: on(SecretReload, "a{200}", ClassReload, "files,b{200}"),
			want:     []Unmet{{ClassReload, `"b{200}" ` + errTooLarge.Error()}},
		},
		"too many elements": {
			workload: on(SecretExclude, "y,z", ClassReload, strings.Repeat("x,", maxNames-1)),
			want:     []Unmet{{ClassReload, "only the first 200 elements of all lists are read: shorten them"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []Unmet
			configMaps := ""
			if w := Parse(test.workload, test.template); w != nil {
				got, configMaps = w.Unmet, w.ConfigMaps
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("unmet (-want +got)\n%s", diff)
			}
			if configMaps != test.configMaps {
				t.Errorf("ConfigMaps by %q, want %q", configMaps, test.configMaps)
			}
		})
	}
}

func TestWhatIsToldIsBounded(t *testing.T) {
	workload := map[string]string{}
	for i := range 1000 {
		workload[domain+"/"+strings.Repeat("x", i+1)] = "y"
	}
	w := Parse(workload, nil)
	if len(w.Unmet) != maxUnmet {
		t.Errorf("%d are told, want %d", len(w.Unmet), maxUnmet)
	}
	for _, u := range w.Unmet {
		if len(u.String()) > 200 {
			t.Errorf("%d characters: %s", len(u.String()), u)
		}
	}
}
