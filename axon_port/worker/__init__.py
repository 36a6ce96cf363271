"""The worker: it joins the wire and the agents. Descriptors, threads, dispatch, flow and lifecycle live here."""
