"""Generate the parts of charts that repeat in several charts or follow from serving: `python -m tools.chart_values`.

- `charts/common/pods.yaml` goes into the values.yaml and values.schema.json of each chart: values for pods.
- serving's `Settings` go into charts/model-serving: values.yaml, values.schema.json and the ConfigMap's template.
"""
