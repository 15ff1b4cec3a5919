{{/* What every pod may reach: where names are looked up, and what values open besides. For a NetworkPolicy. By default the
     cluster's DNS, which k3s and kubeadm alike label k8s-app=kube-dns. */}}
{{- define "pipeline.egress" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $dns := include "pipeline.kubeDns" . | fromYamlArray -}}
{{- concat (default $dns $policy.dns) $policy.extraEgress | toYaml -}}
{{- end -}}

{{- define "pipeline.kubeDns" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{/* Hosts of an Ingress as JSON, a list of {host, paths, tlsSecret}: values may give a name alone. */}}
{{- define "pipeline.ingressHosts" -}}
{{- $hosts := list -}}
{{- range .Values.ingress.hosts -}}
{{- $host := . -}}
{{- if kindIs "string" . -}}
{{- $host = dict "host" . -}}
{{- end -}}
{{- $paths := $host.paths | default (list (dict "path" "/")) -}}
{{- $hosts = append $hosts (dict "host" $host.host "paths" $paths "tlsSecret" (default "" $host.tlsSecret)) -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{/* Certificates of an Ingress as JSON, a list of {secretName, hosts}. ingress.tlsSecret is for all hosts that name none. */}}
{{- define "pipeline.ingressTls" -}}
{{- $common := list -}}
{{- $tls := list -}}
{{- range include "pipeline.ingressHosts" . | fromJsonArray -}}
{{- if .tlsSecret -}}
{{- $tls = append $tls (dict "secretName" .tlsSecret "hosts" (list .host)) -}}
{{- else -}}
{{- $common = append $common .host -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.tlsSecret $common -}}
{{- $tls = prepend $tls (dict "secretName" .Values.ingress.tlsSecret "hosts" $common) -}}
{{- end -}}
{{- toJson $tls -}}
{{- end -}}

{{/* An Ingress to the port `http` of the Service of its name. Takes (list $ NAME). */}}
{{- define "pipeline.ingress" -}}
{{- $root := index . 0 -}}
{{- $ingress := $root.Values.ingress -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "pipeline.labels" (list $root "server") | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with include "pipeline.ingressTls" $root | fromJsonArray }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range include "pipeline.ingressHosts" $root | fromJsonArray }}
    - host: {{ .host | quote }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ .path | quote }}
            pathType: {{ default "Prefix" .pathType }}
            backend:
              service:
                name: {{ index $ 1 }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end -}}

{{/* A Service's type, and what goes with it. */}}
{{- define "pipeline.serviceType" -}}
type: {{ .Values.service.type }}
{{- with .Values.service.loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Peers of a NetworkPolicy that let callers in from outside. Nodes may put their own address in place of the caller's:
     only the load balancer itself tells callers apart. */}}
{{- define "pipeline.outsidePeers" -}}
{{- if ne .Values.service.type "ClusterIP" -}}
- ipBlock:
    cidr: 0.0.0.0/0
- ipBlock:
    cidr: ::/0
{{- end -}}
{{- end -}}
