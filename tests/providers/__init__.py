"""Real workers whose models are the loopback services of `tests.kit.providers`.

Each test is run over all interfaces unless it says otherwise. What goes over HTTP is asserted, not only what comes
back: `asked` reads the requests, `scenes` has the agents and answers that several tests need.
"""
