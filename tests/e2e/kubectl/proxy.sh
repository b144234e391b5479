# Ask the server through `kubectl proxy`: its version, an object, and what comes of a watch of one second.
: > "$HOME/proxy.log"
kubectl proxy --port=0 > "$HOME/proxy.log" 2>&1 &
proxy=$!
until port=$(sed -n 's/Starting to serve on 127.0.0.1://p' "$HOME/proxy.log") && [ -n "$port" ]; do sleep 0.1; done
"$PYTHON" - "http://127.0.0.1:$port" "$1" <<'PROGRAM'
import json, sys, urllib.request
ask = lambda path: urllib.request.urlopen(f"{sys.argv[1]}{path}", timeout=60).read()
configmaps = f"/api/v1/namespaces/{sys.argv[2]}/configmaps"
print(json.loads(ask("/version"))["major"], json.loads(ask(f"{configmaps}/kube-root-ca.crt"))["metadata"]["name"])
print(json.loads(ask(f"{configmaps}?watch=true&timeoutSeconds=1").splitlines()[0])["type"])
PROGRAM
kill $proxy
