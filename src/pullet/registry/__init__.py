"""OCI distribution client. Blocking and thread-safe; called from worker threads.

    client ─► transport ─► connections ─► dial
       │          └► auth (who asks)        one request, whatever it takes
       ├► hosts ─► hosts_toml, endpoint     where to ask
       └► blob_download                     bytes that survive cut connections

Modules, in reading order: errors, settings, endpoint, hosts_toml, short_names, hosts, proxies, name_lookup,
tcp_connect, dial_target, nested_tls, tls_handshake, tunnel, dial, host_slots, connections, response, auth, transport,
blob_download, client, push.
"""
