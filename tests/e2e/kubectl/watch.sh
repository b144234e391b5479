# Print what `kubectl get -w` and `kubectl get events -w` show of a pod from its creation to its end.
kubectl get pods -w --output-watch-events > "$HOME/pods.log" 2>&1 &
pods=$!
kubectl get events -w --no-headers -o custom-columns=NAME:.involvedObject.name,REASON:.reason > "$HOME/events.log" 2>&1 &
events=$!
sleep 1
kubectl run seen --image=web:1.0 --overrides='{"spec":{"terminationGracePeriodSeconds":0}}' > /dev/null
kubectl wait --for=condition=Ready pod/seen --timeout=60s > /dev/null
kubectl delete pod seen --now > /dev/null
until grep -q '^DELETED' "$HOME/pods.log" && grep -q "seen .*Killing" "$HOME/events.log"; do sleep 0.1; done
kill $pods $events
uniq "$HOME/pods.log" | sed 's/  */ /g; s/ [0-9]*s$/ AGE/' | uniq | grep -v -e ContainerCreating -e 'MODIFIED seen 0/1 Pending'
sed -n 's/^seen  *//p' "$HOME/events.log" | grep -e Scheduled -e Started -e Killing
