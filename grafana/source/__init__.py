"""The dashboards as data. `python -m grafana.source` writes them to grafana/dashboards; a test keeps those current.

expression  PromQL over what the variables select
panel       the kinds of panels
dashboard   variables, links, annotations, and positions of panels
overview, server, exporter, control: the dashboards
"""
