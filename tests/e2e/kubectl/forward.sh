# Serve a file in the container and fetch it through a forwarded port. $1: the pod; $2: its size in MiB, /VERSION if none.
kubectl exec "$1" -- sh -c "mkdir -p /tmp/www && cat /VERSION > /tmp/www/file
    [ -z '$2' ] || busybox dd if=/dev/urandom of=/tmp/www/file bs=1M count=$2 2> /dev/null
    busybox sha256sum /tmp/www/file > /tmp/www/sum; busybox pidof httpd > /dev/null || httpd -p 8080 -h /tmp/www"
: > "$HOME/forward.log"
kubectl port-forward "$1" :8080 > "$HOME/forward.log" 2>&1 &
forwarder=$!
for _ in $(seq 100); do
    port=$(sed -n 's/Forwarding from 127.0.0.1:\([0-9]*\) -> 8080/\1/p' "$HOME/forward.log")
    [ -n "$port" ] && break
    sleep 0.1
done
"$PYTHON" - "http://127.0.0.1:$port" <<'PROGRAM'
import hashlib, sys, urllib.request
fetch = lambda name: urllib.request.urlopen(f"{sys.argv[1]}/{name}", timeout=60).read()
body, wanted = fetch("file"), fetch("sum").split()[0].decode()
print(len(body), "bytes", "whole" if hashlib.sha256(body).hexdigest() == wanted else "damaged")
PROGRAM
kill $forwarder
