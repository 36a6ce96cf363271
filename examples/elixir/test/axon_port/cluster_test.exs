defmodule AxonPort.ClusterTest do
  @moduledoc "Real nodes: each is an operating system process with workers of its own."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker, only: [assert_gone: 1, eventually: 2]

  alias AxonPort.Peers

  @name AxonPort.ClusterTest.Agents
  @server {:cluster, @name}

  # A node with a pool, or one that only calls.
  defp node_with(options) do
    node = Peers.start()

    Peers.call(node.peer, Peers, :start_children, [
      [{AxonPort.Supervisor, [name: @name, cluster: true] ++ options}]
    ])

    node
  end

  defp caller do
    node = Peers.start()
    Peers.call(node.peer, Peers, :start_children, [[{AxonPort.Cluster, name: @name}]])
    node
  end

  defp together(nodes, pools) do
    Peers.connect(nodes)

    for %{peer: peer} <- nodes do
      eventually(
        fn -> length(on(peer, AxonPort.Cluster, :pools, [@name])) == length(pools) end,
        "pools are not found"
      )
    end

    for %{peer: peer} <- pools do
      eventually(fn -> on(peer, AxonPort.Pool, :workers, [@name]) != [] end, "no worker is ready")
    end
  end

  defp on(peer, module, function, arguments), do: Peers.call(peer, module, function, arguments)
  defp load(node), do: on(node.peer, Peers, :load, [@name])
  defp release(node), do: on(node.peer, Peers, :release, [])
  defp begin(node, count, options), do: on(node.peer, Peers, :begin, [@server, count, options])
  defp outcomes(node), do: node.peer |> on(Peers, :collect, []) |> Enum.frequencies()

  test "the local pool comes first, and another node's when it is full or down" do
    here = node_with(workers: 1, max_inflight: 2, backoff: [base: 3_600_000, max: 3_600_000])
    there = node_with(workers: 1)
    together([here, there], [here, there])

    begin(here, 2, [])
    eventually(fn -> load(here) == 2 end, "the local pool was not used")
    assert load(there) == 0
    release(here)
    assert outcomes(here) == %{{:ok, to_string(here.node)} => 2}

    # Full: two slow runs of the caller fill it.
    on(here.peer, :persistent_term, :erase, [Peers])
    begin(here, 3, [])
    eventually(fn -> {load(here), load(there)} == {2, 1} end, "the third run did not go elsewhere")
    release(here)
    release(there)
    assert outcomes(here) == %{{:ok, to_string(here.node)} => 2, {:ok, to_string(there.node)} => 1}

    # Down: its worker is killed, and the next one is an hour away.
    [os_pid] = on(here.peer, Peers, :os_pids, [@name])
    AxonPort.RealWorker.signal(os_pid, "KILL")

    eventually(
      fn -> on(here.peer, AxonPort.Pool, :workers, [@name]) == [] end,
      "the dead worker is still in the pool"
    )

    begin(here, 2, [])
    assert outcomes(here) == %{{:ok, to_string(there.node)} => 2}
  end

  test "a node dies under load: each caller is answered, and runs that may be tried again finish elsewhere" do
    [doomed, survivor] = for _ <- 1..2, do: node_with(workers: 1)
    [careful, trying] = for _ <- 1..2, do: caller()
    together([doomed, survivor, careful, trying], [doomed, survivor])
    os_pids = on(doomed.peer, Peers, :os_pids, [@name])

    begin(careful, 20, [])
    begin(trying, 20, attempts: 5)
    eventually(fn -> load(doomed) + load(survivor) == 40 end, "not all runs are under way")
    lost = load(doomed)
    assert lost > 0, "the doomed node has no load"
    release(survivor)
    Peers.kill(doomed)

    there = {:ok, to_string(survivor.node)}
    assert %{^there => 20} = outcomes(trying)
    told = outcomes(careful)
    assert told[there] + Map.get(told, {:error, :worker_exited}, 0) == 20
    for os_pid <- os_pids, do: assert_gone(os_pid)
  end

  test "a caller's node dies: its runs are cancelled" do
    pool = node_with(workers: 1)
    doomed = caller()
    together([pool, doomed], [pool])
    begin(doomed, 5, [])
    eventually(fn -> load(pool) == 5 end, "not all runs are under way")
    Peers.kill(doomed)
    eventually(fn -> load(pool) == 0 end, "the runs go on")
  end
end
