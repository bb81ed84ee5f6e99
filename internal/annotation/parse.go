package annotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Parse reads the annotations of a workload or pod template. A workload that
// opted out has only its restart annotations read.
func Parse(a map[string]string) (Settings, Problems) {
	p := &parser{annotations: a}
	if strings.TrimSpace(a[Inject]) == "false" {
		s := Settings{InjectFalse: true, RestartNever: p.restartNever(), RestartOn: p.restartOn()}
		return s, p.problems
	}
	objects := p.objects()
	s := Settings{
		Objects:             objects,
		Vault:               p.text(Vault, checkVault),
		TenantID:            p.text(TenantID, CheckTenantID),
		ClientID:            p.text(ClientID, CheckClientID),
		ServiceAccount:      p.text(ServiceAccount, checkName("ServiceAccount")),
		MountPath:           p.text(MountPath, checkMountPath),
		Containers:          p.list(Containers, checkContainer),
		Env:                 p.env(objects),
		Secret:              p.text(Secret, checkSecret),
		SecretType:          p.secretType(objects),
		SecretProviderClass: p.text(SecretProviderClass, checkClass),
		NoWorkloadIdentity:  p.text(WorkloadIdentity, oneOf("true", "false")) == "false",
		RestartNever:        p.restartNever(),
		RestartOn:           p.restartOn(),
	}
	p.text(Inject, oneOf("true", "false"))
	p.together()
	p.others(OnWorkload)
	return s, p.sorted()
}

// ParseNamespace reads the annotations of a namespace. An allowed-vaults that
// is wrong allows only those of its vaults that are right, at worst none.
func ParseNamespace(a map[string]string) (Defaults, Problems) {
	p := &parser{annotations: a}
	d := Defaults{
		Vault:          p.text(Vault, checkVault),
		TenantID:       p.text(TenantID, CheckTenantID),
		ClientID:       p.text(ClientID, CheckClientID),
		ServiceAccount: p.text(ServiceAccount, checkName("ServiceAccount")),
		AllowedVaults:  p.list(AllowedVaults, checkVault),
	}
	if _, set := a[AllowedVaults]; set && d.AllowedVaults == nil {
		d.AllowedVaults = []string{}
	}
	p.others(OnNamespace)
	return d, p.sorted()
}

// objects reads what to mount. One id once, because the driver's status keeps
// one version per id; one file name once, because the last would win.
func (p *parser) objects() []Object {
	var out []Object
	for _, item := range p.items(Objects) {
		o, errs := parseObject(item)
		for _, err := range errs {
			p.add(Objects, item, err.Error())
		}
		if len(errs) > 0 {
			continue
		}
		if i := slices.IndexFunc(out, func(b Object) bool { return b.ID() == o.ID() }); i >= 0 {
			p.add(Objects, item, "is listed twice; write "+echo(o.ID())+" once")
			continue
		}
		if i := slices.IndexFunc(out, func(b Object) bool { return b.FileName() == o.FileName() }); i >= 0 {
			p.add(Objects, item, fmt.Sprintf("has the same file name as %s; give it another, such as %s=%s.%s",
				echo(out[i].String()), echo(o.ID()), echo(o.Name), o.Type))
			continue
		}
		out = append(out, o)
	}
	return out
}

// env reads NAME=OBJECT entries. An object is looked for only where all of the
// objects could be read, lest one mistake be told twice.
func (p *parser) env(objects []Object) []EnvVar {
	lookUp := p.has(Objects) && !p.wrong(Objects)
	var out []EnvVar
	for _, item := range p.items(Env) {
		name, ref, ok := strings.Cut(item, "=")
		name, ref = strings.TrimSpace(name), strings.TrimSpace(ref)
		if !ok || name == "" || ref == "" {
			p.add(Env, item, "is not NAME=OBJECT; write for example DB_PASSWORD=db-password")
			continue
		}
		if len(name) > maxEnvName || len(validation.IsEnvVarName(name)) > 0 { // before Kubernetes 1.32 there were no others
			p.add(Env, item, "has no valid environment variable name before '='; write letters, digits and '_', no digit first, at most 253")
		}
		if slices.ContainsFunc(out, func(e EnvVar) bool { return e.Name == name }) {
			p.add(Env, item, "sets a variable that is set before; remove one")
		}
		o, err := parseID(ref)
		if err == nil && lookUp {
			o, err = find(objects, ref, o)
		}
		if err != nil {
			p.add(Env, item, err.Error())
		}
		out = append(out, EnvVar{Name: name, Object: o})
	}
	if p.wrong(Env) || !lookUp {
		return nil
	}
	return out
}

// find returns the object that ref means. A bare name is the secret of that
// name, else the one object that has it.
func find(objects []Object, ref string, id Object) (Object, error) {
	var same []Object
	var file string
	for _, o := range objects {
		if o.ID() == id.ID() {
			return o, nil
		}
		if o.Name == ref {
			same = append(same, o)
		}
		if o.File == ref {
			file = o.ID()
		}
	}
	switch {
	case len(same) == 0 && file != "":
		return Object{}, fmt.Errorf("takes a file name for an object; write %s", echo(file))
	case len(same) == 0:
		return Object{}, fmt.Errorf("takes an object that is not in %s; add %s there", Objects, echo(id.ID()))
	case len(same) == 1:
		return same[0], nil
	}
	return Object{}, fmt.Errorf("could take several objects; write %s or %s", echo(same[0].ID()), echo(same[1].ID()))
}

// secretType reads the type, and what kubernetes.io/tls needs: one file that
// holds key and chain, which is how the provider reads a certificate through
// secret/NAME.
func (p *parser) secretType(objects []Object) string {
	t := p.text(SecretType, oneOf(SecretTypeOpaque, SecretTypeTLS))
	if t != "" && !p.has(Secret) && !p.has(SecretProviderClass) {
		p.add(SecretType, t, "has no effect without "+Secret+"; name the Secret there")
	}
	if t != SecretTypeTLS {
		return t
	}
	if p.has(Env) {
		p.add(SecretType, t, "holds a certificate and its key only, so "+Env+" cannot take from it; remove one of the two")
	}
	if !p.has(Objects) || p.wrong(Objects) {
		return t
	}
	secrets := 0
	for _, o := range objects {
		if o.Type == TypeSecret {
			secrets++
		}
	}
	if secrets != 1 {
		p.add(SecretType, t, fmt.Sprintf("needs exactly one object of type secret in %s, not %d; "+
			"the vault gives a certificate's key and chain together as secret/NAME", Objects, secrets))
	}
	return t
}

func (p *parser) restartNever() bool {
	return p.text(Restart, oneOf(RestartRolling, RestartIsNever)) == RestartIsNever
}

// restartOn reads what rolls the workload besides its own mounts.
func (p *parser) restartOn() Triggers {
	if strings.TrimSpace(p.annotations[RestartOn]) == RestartOnAuto {
		return Triggers{Auto: true}
	}
	names := p.list(RestartOn, func(item string) error {
		name, ok := strings.CutPrefix(item, "secret/")
		switch {
		case item == RestartOnAuto:
			return errors.New("takes in every Secret, so it stands alone; write auto or a list")
		case !ok:
			return errors.New("is not secret/NAME; write auto, or the Secrets as secret/NAME")
		}
		return checkName("Secret")(name)
	})
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "secret/")
	}
	return Triggers{Secrets: names}
}

// together checks annotations against one another.
func (p *parser) together() {
	own := p.has(SecretProviderClass)
	for _, key := range []string{Objects, Vault, Env, Secret, SecretType} {
		if own && p.has(key) {
			p.add(key, "", "cannot stand beside "+SecretProviderClass+", whose class decides that; "+besideClass(key))
		}
	}
	if own || p.has(Objects) {
		return
	}
	for _, key := range []string{
		Vault, TenantID, ClientID, ServiceAccount, MountPath, Containers, Env, Secret, SecretType, WorkloadIdentity,
	} {
		if p.has(key) {
			p.add(key, "", "has no effect without "+Objects+"; write that too, or remove this annotation")
		}
	}
}

// besideClass is the mend for an annotation that an existing class rules out.
func besideClass(key string) string {
	if key == Env {
		return "write the environment in the pod template, with secretKeyRef"
	}
	return "remove one of the two"
}
