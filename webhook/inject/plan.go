package inject

import (
	"fmt"
	"slices"
	"strconv"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
)

// mirrorAnnotation marks the API's image of a static pod.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// Input is all that a plan is made from.
type Input struct {
	Pod       Pod
	Namespace dependency.Namespace
	Accounts  dependency.Accounts // ServiceAccounts of the namespace
	Classes   Classes             // SecretProviderClasses of the namespace; nil: not known
	Fallback  dependency.Fallback
}

// Classes answers the provider of the named SecretProviderClass, and whether
// there is such a class.
type Classes func(name string) (provider string, found bool)

// Plan is what is to be done with a pod. With Problems nothing is done and the
// pod is refused; without a change Patch is empty.
type Plan struct {
	Reason   Reason
	Problems annotation.Problems
	// Warnings are for the user: what is odd, or may be right only later.
	Warnings []string
	// Unsettled: something that the pod needs is missing or wrong outside of it, so
	// a later look at namespace, accounts and classes may come to another plan.
	Unsettled bool
	Record    dependency.Record

	account    *accountChange
	volume     string // to add; "" : none
	turned     turned
	mount      string // volume that the additions mount
	path       string
	additions  []addition
	labels     map[string]string // to set
	annotation string            // the record, to set; "" : it stands there already
	pod        *Pod
	patch      Patch
}

// NewPlan decides what a pod needs.
func NewPlan(in Input) Plan {
	switch {
	case in.Pod.Metadata.Annotations[mirrorAnnotation] != "":
		return Plan{Reason: MirrorPod}
	case !in.Namespace.Enabled():
		return Plan{Reason: NamespaceNotEnabled, Unsettled: true}
	}
	return newPlan(in)
}

// newPlan leaves out the question whether the pod is to be looked at at all.
func newPlan(in Input) Plan {
	settings, problems := annotation.Parse(in.Pod.Metadata.Annotations)
	asked := settings.Asked() || !settings.InjectFalse && in.Pod.Metadata.asks()
	switch {
	case settings.InjectFalse && len(problems) == 0:
		return Plan{Reason: OptedOut}
	case len(problems) > 0 && !asked:
		return Plan{Reason: BadAnnotations, Problems: problems}
	case !asked:
		return Plan{Reason: NotAsked}
	}
	d := draft{in: in, settings: settings, containers: in.Pod.Spec.all()}
	if len(d.containers) == 0 {
		return Plan{Reason: NoContainers}
	}
	d.found(BadAnnotations, problems)
	d.resolve()
	d.fit()
	return d.plan()
}

// asks tells of an annotation that asks for injection, though what it says may
// be wrong.
func (m Metadata) asks() bool {
	_, objects := m.Annotations[annotation.Objects]
	_, class := m.Annotations[annotation.SecretProviderClass]
	return objects || class
}

// draft is a plan in the making. Its steps go on after a problem, so that one
// answer names them all.
type draft struct {
	in         Input
	settings   annotation.Settings
	containers []containerAt
	p          Plan
}

// found takes down problems under the reason of the first of them. A key is
// told of once: what does not parse is also what cannot be resolved.
func (d *draft) found(reason Reason, problems annotation.Problems) {
	known := len(d.p.Problems)
	for _, p := range problems {
		told := slices.ContainsFunc(d.p.Problems[:known], func(q annotation.Problem) bool { return q.Key == p.Key })
		if told {
			continue
		}
		if len(d.p.Problems) == 0 {
			d.p.Reason = reason
		}
		d.p.Problems = append(d.p.Problems, p)
	}
}

// warn takes down a warning.
func (d *draft) warn(format string, args ...any) {
	d.p.Warnings = append(d.p.Warnings, fmt.Sprintf(format, args...))
}

// resolve finds the account and, with it, all that the record says.
func (d *draft) resolve() {
	defaults, wrong := annotation.ParseNamespace(d.in.Namespace.Annotations)
	name, conflict := dependency.AccountName(d.settings, defaults, d.in.Pod.Spec.account())
	account, exists := d.in.Accounts(name)
	if !exists {
		d.warn("ServiceAccount %q does not exist in namespace %q", name, d.in.Namespace.Name)
	}
	fallback := d.in.Fallback
	if about(wrong, annotation.TenantID) {
		fallback.TenantID = "" // it was not meant
	}
	record, missing := dependency.Resolve(d.settings, defaults, account, fallback)
	if _, class := d.in.Pod.Metadata.Annotations[annotation.SecretProviderClass]; !class && !d.settings.Asked() {
		missing = dependency.Missing(d.settings, defaults, account, fallback)
	}
	if !exists {
		blame(missing, name)
	}
	onNamespace := d.foundOnNamespace(wrong, func(key string) bool {
		switch key {
		case annotation.ServiceAccount:
			return d.settings.ServiceAccount == "" && name == dependency.DefaultAccount
		case annotation.AllowedVaults:
			return about(missing, annotation.Vault)
		}
		return about(missing, key)
	})
	d.p.Unsettled = !exists || onNamespace || len(missing) > 0
	d.found(Unresolved, conflict)
	d.found(Unresolved, missing)
	d.p.Record = record
	d.checkClass()

	from, _ := d.in.Accounts(d.in.Pod.Spec.account())
	d.p.account = changeAccount(d.in.Pod.Spec, name, from, account)
}

// about tells whether there is a problem with the key.
func about(problems annotation.Problems, key string) bool {
	return slices.ContainsFunc(problems, func(p annotation.Problem) bool { return p.Key == key })
}

// foundOnNamespace takes down what is wrong on the namespace. Nobody is told at
// once who writes there, and all of its pods would pay for one slip: so it is a
// problem only for those that need the very thing, and a warning for the others.
// It answers whether there is a problem.
func (d *draft) foundOnNamespace(wrong annotation.Problems, needed func(key string) bool) bool {
	var problems annotation.Problems
	for _, p := range wrong {
		if !needed(p.Key) {
			d.warn("%s (on namespace %q, not needed here)", p, d.in.Namespace.Name)
			continue
		}
		p.Mend += fmt.Sprintf(" (on namespace %q)", d.in.Namespace.Name)
		problems = append(problems, p)
	}
	d.found(BadNamespace, problems)
	return len(problems) > 0
}

// blame puts a missing ServiceAccount before the problems that it causes.
func blame(problems annotation.Problems, account string) {
	for i := range problems {
		if problems[i].Later {
			problems[i].Mend = fmt.Sprintf("ServiceAccount %q does not exist: create it; this ", account) + problems[i].Mend
		}
	}
}

// checkClass warns of an existing class that the driver will not find, or will
// not ask Azure for.
func (d *draft) checkClass() {
	name := d.settings.SecretProviderClass
	if name == "" || d.in.Classes == nil {
		return
	}
	switch provider, found := d.in.Classes(name); {
	case !found:
		d.p.Unsettled = true
		d.warn("%s: SecretProviderClass %q does not exist in namespace %q", annotation.SecretProviderClass, name, d.in.Namespace.Name)
	case provider != secretsstore.ProviderAzure:
		d.warn("%s: SecretProviderClass %q is of provider %q, not %q", annotation.SecretProviderClass, name, provider, secretsstore.ProviderAzure)
	}
}

// fit finds what the pod's volumes, containers and labels lack.
func (d *draft) fit() {
	pod := d.in.Pod
	d.p.path = d.settings.MountPath
	if d.p.path == "" {
		d.p.path = annotation.DefaultMountPath
	}
	volume, exists := volumeFor(pod.Spec, d.p.Record.SecretProviderClass)
	if i := outdated(pod.Spec); !exists && i >= 0 {
		volume, exists = pod.Spec.Volumes[i].Name, true
		d.p.turned = turned{from: pod.Spec.Volumes[i].class(), volume: i}
	}
	d.p.mount = volume
	if !exists {
		d.p.volume = volume
	} else if slices.ContainsFunc(pod.Spec.Volumes, func(v Volume) bool { return v.Name == volume && v.writable() }) {
		d.warn("volume %q lacks readOnly: true, without which the driver does not mount it", short(volume))
	}

	encoded := d.p.Record.Encode()
	if pod.Metadata.Annotations[annotation.Dependencies] != encoded {
		d.p.annotation = encoded
	}
	d.fitContainers(volume, exists && d.p.annotation == "" && pod.Metadata.Labels[annotation.InjectedLabel] == labelOn)
	d.fitLabels()
}

// fitContainers finds what the chosen containers lack. When the pod has been
// through our hands before (again) and no containers are named, those that do
// not mount the volume came later, from another webhook, and nobody asked for
// them.
func (d *draft) fitContainers(volume string, again bool) {
	chosen, problems, warnings := choose(d.containers, d.settings.Containers)
	d.found(PodConflict, problems)
	d.p.Warnings = append(d.p.Warnings, warnings...)

	mounted := func(c containerAt) bool { return c.mounts(volume) }
	later := again && d.settings.Containers == nil && slices.ContainsFunc(chosen, mounted)
	env := d.env()
	if problems = tooMany(len(chosen), len(env)); problems != nil {
		d.found(PodConflict, problems)
		return
	}
	d.p.additions = make([]addition, 0, len(chosen))
	for _, c := range chosen {
		if later && !mounted(c) {
			continue
		}
		a := addition{containerAt: d.turn(c, env)}
		problems = append(problems, a.addEnv(env)...)
		problems = append(problems, a.addMount(d.in.Pod.Spec, volume, d.p.path, d.settings)...)
		if a.mount || len(a.env) > 0 {
			d.p.additions = append(d.p.additions, a)
		}
	}
	d.found(PodConflict, problems)
}

// turn answers the container with the variables as they will be that are taken
// from an outdated class's Secret, whose name is the class's.
func (d *draft) turn(c containerAt, env []envVar) containerAt {
	from := d.p.turned.from
	if from == "" {
		return c
	}
	c.Env = slices.Clone(c.Env)
	for _, want := range env {
		old := envVar{name: want.name, from: SecretKey{Name: from, Key: want.from.Key}}
		for i, have := range c.Env {
			if have.Name == want.name && have.is(old) {
				c.Env[i].From = &EnvSource{Secret: &want.from}
				d.p.turned.variables = append(d.p.turned.variables, c.path()+"/env/"+strconv.Itoa(i))
			}
		}
	}
	return c
}

// env is what each chosen container is to have in its environment.
func (d *draft) env() []envVar {
	env := make([]envVar, 0, len(d.settings.Env))
	for _, e := range d.settings.Env {
		env = append(env, envVar{name: e.Name, from: SecretKey{Name: d.p.Record.Secret, Key: e.Object.FileName()}})
	}
	return env
}

// labelOn is the value of the labels that the webhook sets.
const labelOn = "true"

// fitLabels finds the labels that are missing. Someone who sets the identity
// label to another value by himself has said that he does not want it.
func (d *draft) fitLabels() {
	have := d.in.Pod.Metadata.Labels
	d.p.labels = map[string]string{}
	if have[annotation.InjectedLabel] != labelOn {
		d.p.labels[annotation.InjectedLabel] = labelOn
	}
	if d.settings.NoWorkloadIdentity {
		return
	}
	switch value, set := have[annotation.IdentityUseLabel]; {
	case !set:
		d.p.labels[annotation.IdentityUseLabel] = labelOn
	case value != labelOn:
		d.warn("label %s=%s is left as it is; write %s=false to silence this, or remove the label", annotation.IdentityUseLabel, value, annotation.WorkloadIdentity)
	}
}

// plan closes the draft.
func (d *draft) plan() Plan {
	p := d.p
	if len(p.Problems) > 0 {
		return Plan{Reason: p.Reason, Problems: p.Problems, Warnings: p.Warnings, Unsettled: p.Unsettled}
	}
	p.pod = &d.in.Pod
	p.patch = p.operations()
	p.Reason = Injected
	if len(p.patch) == 0 {
		p.Reason = AlreadyInjected
	}
	return p
}
