"""The command line, one file per command.

Modules, in reading order: main (the beginning, and the exit codes), quick (a pull that needs no command tree), tree
(the commands), options (what commands share), root_user, show (tables, sizes), progress and pulling (a pull as it
goes), launch (a node in a process of its own), manifests (what the user wrote), verdict (has a pod started), watching
(pods as they start), node_directory (which node is meant); then the commands: up, down, status, kubeconfig, run, images
with images_maintenance and cold (without a node), store, login, logout, why, config_show, version, and demo with
demo_cases and demo_images.
"""
