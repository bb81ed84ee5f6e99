package driver

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"keyroll.dev/e2e/vault"
)

// azure is the Azure provider, v1.8.2: it turns a class's parameters into
// files. Its error texts are the provider's, because they end up in pod events.
type azure struct{ vault *vault.Service }

// mountRequest is what the driver asks a provider for.
type mountRequest struct {
	parameters map[string]string
	secrets    map[string]string // of nodePublishSecretRef; nil for none
	audiences  []string          // of the ServiceAccount tokens that came along
	namespace  string            // the pod's
	account    string            // the pod's ServiceAccount
}

// providerFile is one file of the provider's answer.
type providerFile struct {
	path    string
	id      string
	version string
	content string
}

// mount fetches everything or fails as a whole.
func (a azure) mount(r mountRequest) ([]providerFile, error) {
	keyVault, caller, err := r.identity()
	if err != nil {
		return nil, err
	}
	objects, err := parseObjects(strings.TrimSpace(r.parameters["objects"]))
	if err != nil || len(objects) == 0 {
		return nil, err
	}
	if err := checkVaultName(keyVault); err != nil {
		return nil, fmt.Errorf("failed to get vault: %w", err)
	}
	var files []providerFile
	for _, o := range objects {
		fetched, err := a.fetch(caller, keyVault, o)
		if err != nil {
			return nil, err
		}
		files = append(files, fetched...)
	}
	return files, nil
}

const (
	workloadAudience = "api://AzureADTokenExchange"
	bindingAudience  = "api://AKSIdentityBinding"
)

// identity reads vault and identity from the parameters, in the provider's order of checks.
func (r mountRequest) identity() (string, vault.Caller, error) {
	p := trimmed(r.parameters)
	var modes []string
	for _, mode := range []string{"usePodIdentity", "useVMManagedIdentity", "useAzureTokenProxy"} {
		on, err := strconv.ParseBool(orDefault(p[mode], "false"))
		if err != nil {
			return "", vault.Caller{}, fmt.Errorf("failed to parse %s flag, error: %w", mode, err)
		}
		if on {
			modes = append(modes, mode)
		}
	}
	tenant := orDefault(p["tenantID"], p["tenantId"])
	switch {
	case len(modes) > 1:
		return "", vault.Caller{}, errors.New("only one identity mode can be enabled at a time: usePodIdentity, useVMManagedIdentity, or useAzureTokenProxy")
	case p["keyvaultName"] == "":
		return "", vault.Caller{}, errors.New("keyvaultName is not provided")
	case tenant == "":
		return "", vault.Caller{}, errors.New("tenantId is not provided")
	}
	mode := ""
	if len(modes) == 1 {
		mode = modes[0]
	}
	caller, err := r.caller(mode, tenant, p)
	if err != nil {
		return "", vault.Caller{}, err
	}
	if p["objects"] == "" {
		return "", vault.Caller{}, errors.New("objects is not set")
	}
	return p["keyvaultName"], caller, nil
}

// caller is the identity that one of the provider's modes acts as.
func (r mountRequest) caller(mode, tenant string, p map[string]string) (vault.Caller, error) {
	clientID := p["clientID"]
	federated := vault.Caller{TenantID: tenant, ClientID: clientID, Subject: vault.Subject(r.namespace, r.account)}
	failed := func(mode string, err error) error {
		return fmt.Errorf("failed to build auth config for mode %s: %w", mode, err)
	}
	switch mode {
	case "useAzureTokenProxy":
		switch {
		case clientID == "":
			return federated, failed("AzureTokenProxy", errors.New("clientID is required for identity binding"))
		case len(r.audiences) == 0:
			return federated, failed("AzureTokenProxy", errors.New("service account tokens are required for identity binding"))
		}
		return federated, r.token("AzureTokenProxy", "failed to parse service account token for identity binding, error", bindingAudience)
	case "useVMManagedIdentity", "usePodIdentity":
		name := map[string]string{"useVMManagedIdentity": "VMManagedIdentity", "usePodIdentity": "PodIdentity"}[mode]
		node := vault.Caller{TenantID: tenant, ClientID: p["userAssignedIdentityID"]}
		if clientID == "" { // else a token is asked for, though nothing uses it
			return node, nil
		}
		return node, r.token(name, "failed to parse workload identity tokens, error", workloadAudience)
	}
	if clientID != "" {
		return federated, r.token("None", "failed to parse workload identity tokens, error", workloadAudience)
	}
	principal, err := servicePrincipal(tenant, r.secrets)
	if err != nil {
		return principal, failed("None", err)
	}
	return principal, nil
}

// token says whether the kubelet, or the older driver, brought a token for the audience.
func (r mountRequest) token(mode, what, audience string) error {
	if len(r.audiences) == 0 {
		return fmt.Errorf("failed to build auth config for mode %s: %s: service account tokens not found", mode, what)
	}
	for _, a := range r.audiences {
		if a == audience {
			return nil
		}
	}
	return fmt.Errorf("failed to build auth config for mode %s: %s: token for audience %s not found", mode, what, audience)
}

func servicePrincipal(tenant string, secrets map[string]string) (vault.Caller, error) {
	if secrets == nil {
		return vault.Caller{}, errors.New("failed to get credentials, nodePublishSecretRef secret is not set")
	}
	values := map[string]string{}
	for k, v := range secrets {
		values[strings.ToLower(k)] = v
	}
	for _, key := range []string{"clientid", "clientsecret"} {
		if values[key] == "" {
			return vault.Caller{}, fmt.Errorf("could not find %s in secrets", key)
		}
	}
	return vault.Caller{TenantID: tenant, ClientID: values["clientid"]}, nil
}

var vaultName = regexp.MustCompile(`^[-A-Za-z0-9]+$`)

func checkVaultName(name string) error {
	if len(name) < 3 || len(name) > 24 {
		return fmt.Errorf("Invalid vault name: %q, must be between 3 and 24 chars", name) //nolint:staticcheck // the provider's text
	}
	if !vaultName.MatchString(name) {
		return fmt.Errorf("Invalid vault name: %q, must match [-a-zA-Z0-9]{3,24}", name) //nolint:staticcheck // the provider's text
	}
	return nil
}

// object is one entry of the objects parameter.
type object struct {
	Name           string `yaml:"objectName"`
	Alias          string `yaml:"objectAlias"`
	Version        string `yaml:"objectVersion"`
	VersionHistory int32  `yaml:"objectVersionHistory"`
	Type           string `yaml:"objectType"`
	Format         string `yaml:"objectFormat"`
	Encoding       string `yaml:"objectEncoding"`
	Permission     string `yaml:"filePermission"`
}

// parseObjects reads YAML whose array holds strings, each of them YAML again.
func parseObjects(text string) ([]object, error) {
	var list struct {
		Array []string `yaml:"array"`
	}
	if err := yaml.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("failed to yaml unmarshal objects, error: %w", err)
	}
	var objects []object
	for i, entry := range list.Array {
		var o object
		if err := yaml.Unmarshal([]byte(entry), &o); err != nil {
			return nil, fmt.Errorf("unmarshal failed for keyVaultObjects at index %d, error: %w", i, err)
		}
		for _, field := range []*string{&o.Name, &o.Alias, &o.Version, &o.Type, &o.Format, &o.Encoding, &o.Permission} {
			*field = strings.TrimSpace(*field)
		}
		if err := o.check(); err != nil {
			return nil, o.wrap(err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func (o object) file() string { return orDefault(o.Alias, o.Name) }

func (o object) wrap(err error) error {
	return fmt.Errorf("failed to get objectType:%s, objectName:%s, objectVersion:%s: %w", o.Type, o.Name, o.Version, err)
}

// check is the provider's own validation. The type is looked at only when it is fetched.
func (o object) check() error {
	secret := o.Type == string(vault.Secret)
	format, encoding := strings.ToLower(o.Format), strings.ToLower(o.Encoding)
	switch {
	case format != "" && format != "pem" && format != "pfx":
		return fmt.Errorf("invalid objectFormat: %v, should be PEM or PFX", o.Format)
	case o.Format == "pfx" && !secret:
		return errors.New("PFX format only supported for objectType: secret")
	case encoding != "" && !secret:
		return errors.New("objectEncoding only supported for objectType: secret")
	case encoding != "" && encoding != "hex" && encoding != "base64" && encoding != "utf-8":
		return fmt.Errorf("invalid objectEncoding: %v, should be hex, base64 or utf-8", o.Encoding)
	case o.file() == "":
		return errors.New("file name must not be empty")
	case filepath.IsAbs(o.file()):
		return errors.New("file name must be a relative path")
	case strings.Contains(o.file(), ".."):
		return errors.New("file name must not contain '..'")
	}
	return nil
}

// fetch reads one entry: one file, or one for each version of a history.
func (a azure) fetch(caller vault.Caller, keyVault string, o object) ([]providerFile, error) {
	switch vault.Type(o.Type) {
	case vault.Secret, vault.Key, vault.Cert:
	default:
		return nil, o.wrap(errors.New("Invalid vaultObjectTypes. Should be secret, key, or cert")) //nolint:staticcheck // the provider's text
	}
	if o.VersionHistory > 1 {
		return a.history(caller, keyVault, o)
	}
	f, err := a.one(caller, keyVault, o, o.Version)
	if err != nil {
		return nil, err
	}
	f.path, f.id = o.file(), o.Type+"/"+o.Name
	return []providerFile{f}, nil
}

// history reads the newest versions, beginning with a pinned one if there is
// any. The provider stops one too late: with more versions there, it takes one
// more than it was asked for.
func (a azure) history(caller vault.Caller, keyVault string, o object) ([]providerFile, error) {
	versions, err := a.vault.Versions(caller, keyVault, vault.Type(o.Type), o.Name)
	if err != nil {
		return nil, err
	}
	var files []providerFile
	found := o.Version == "" || o.Version == "latest"
	for _, v := range versions {
		found = found || v.Version == o.Version
		if !found {
			continue
		}
		f, err := a.one(caller, keyVault, o, v.Version)
		if err != nil {
			return nil, err
		}
		index := strconv.Itoa(len(files))
		f.path, f.id = filepath.Join(o.file(), index), o.Type+"/"+o.Name+"/"+index
		files = append(files, f)
		if len(files) > int(o.VersionHistory) {
			break
		}
	}
	return files, nil
}

func (a azure) one(caller vault.Caller, keyVault string, o object, version string) (providerFile, error) {
	got, err := a.vault.Get(caller, keyVault, vault.Type(o.Type), o.Name, version)
	if err != nil {
		return providerFile{}, o.wrap(err)
	}
	content, err := decode(got.Value, o)
	if err != nil {
		return providerFile{}, err
	}
	return providerFile{version: got.Version, content: content}, nil
}

func decode(value string, o object) (string, error) {
	switch strings.ToLower(o.Encoding) {
	case "base64":
		raw, err := base64.StdEncoding.DecodeString(value)
		return string(raw), err
	case "hex":
		raw, err := hex.DecodeString(value)
		return string(raw), err
	default:
		return value, nil
	}
}

func trimmed(in map[string]string) map[string]string {
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[k] = strings.TrimSpace(v)
	}
	return out
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
