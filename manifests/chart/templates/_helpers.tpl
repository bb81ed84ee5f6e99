{{/* The image of both binaries. */}}
{{- define "keyroll.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object; component "" for what both binaries share. */}}
{{- define "keyroll.labels" -}}
{{- if .component -}}
{{ include "keyroll.selector" . }}
{{- else -}}
app.kubernetes.io/name: keyroll
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end -}}

{{- define "keyroll.selector" -}}
app.kubernetes.io/name: keyroll
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* What both Deployments say of their pods. */}}
{{- define "keyroll.pod" -}}
serviceAccountName: keyroll-{{ .component }}
automountServiceAccountToken: true
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
# Wishes, not demands: a cluster of one node or one zone runs both replicas too.
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "keyroll.selector" . | nindent 14 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "keyroll.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end -}}

{{/* What both containers have in common. */}}
{{- define "keyroll.container" -}}
image: {{ include "keyroll.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
livenessProbe:
  httpGet: {path: /healthz, port: observe}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: observe}
  periodSeconds: 5
  failureThreshold: 2
resources:
  {{- toYaml .values.resources | nindent 2 }}
{{- end -}}

{{/* The seconds of a duration such as 1m30s. */}}
{{- define "keyroll.seconds" -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|s|m|h)" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $seconds = addf $seconds (mulf (trimSuffix $unit .) (get (dict "ms" 0.001 "s" 1 "m" 60 "h" 3600) $unit)) -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{/* Namespaces that the webhooks never see. The last two expressions are those that
     AKS's admissions enforcer adds to every configuration: with them there already,
     it has nothing to write, and nobody fights over the field. */}}
{{- define "keyroll.namespaces" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: [kube-system, {{ .Release.Namespace }}]
- key: control-plane
  operator: NotIn
  values: ["true"]
- key: kubernetes.azure.com/managedby
  operator: NotIn
  values: [aks]
{{- end -}}

{{/* CEL: whether the annotations in `a` ask for anything: a key that Keyroll reads, or an
     unknown key of ours (a typing error, to be answered). The search for unknown ones is
     bounded: the API server's cost accounting makes a walk through a map quadratic, tens
     of seconds for the 88,000 keys that fit into 256 KiB, where a look-up costs nothing. */}}
{{- define "keyroll.asks" -}}
[{{ include "keyroll.shaping" . }}, {{ include "keyroll.watched" . }}].exists(k, k in a) ||
(size(a) <= 1000 && a.exists(k, k.startsWith('keyroll.dev/') && !(k in [{{ include "keyroll.written" . }}])))
{{- end -}}

{{/* CEL: the same of a pod. What the watcher alone reads shapes no pod, and a pod that opts
     out is to start even while no replica of the webhook answers. */}}
{{- define "keyroll.podAsks" -}}
a[?'keyroll.dev/inject'].orValue('') != 'false' &&
([{{ include "keyroll.shaping" . }}].exists(k, k in a) ||
(size(a) <= 1000 && a.exists(k, k.startsWith('keyroll.dev/') && !(k in [{{ include "keyroll.watched" . }}, {{ include "keyroll.written" . }}]))))
{{- end -}}

{{/* The keys that shape pods, those that the watcher reads, and those that Keyroll writes,
     which ask for nothing. */}}
{{- define "keyroll.shaping" -}}
'keyroll.dev/objects', 'keyroll.dev/vault', 'keyroll.dev/tenant-id', 'keyroll.dev/client-id', 'keyroll.dev/service-account',
'keyroll.dev/mount-path', 'keyroll.dev/containers', 'keyroll.dev/env', 'keyroll.dev/secret', 'keyroll.dev/secret-type',
'keyroll.dev/secret-provider-class', 'keyroll.dev/workload-identity', 'keyroll.dev/inject', 'keyroll.dev/allowed-vaults'
{{- end -}}
{{- define "keyroll.watched" -}}
'keyroll.dev/restart', 'keyroll.dev/restart-on'
{{- end -}}
{{- define "keyroll.written" -}}
'keyroll.dev/dependencies', 'keyroll.dev/content', 'keyroll.dev/from-workload', 'keyroll.dev/injected'
{{- end -}}
