"""The command line, one file per command.

Modules, in reading order: main (the command tree and its exit codes), options (what commands share), show (tables,
sizes), progress (a pull as it goes), then the commands: up, down, status, kubeconfig, run, demo, images, why,
config_show, version.
"""
