defmodule AxonPort.ServerTest do
  @moduledoc "What is no worker is not asked as if it were one: it would die of that, and everybody's runs with it."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Command, Conversation, Error, Peers, Request, Result, Server, Worker}

  @patience AxonPort.RealWorker.patience()

  setup_all do
    %{pool: start_pool(workers: 1), agent: scripted("here", [%{text: "hi"}])}
  end

  test "a pool's name on this node is the pool", %{pool: pool, agent: agent} do
    server = {pool, node()}
    assert {:ok, %Result{output: "hi"}} = AxonPort.run_sync(server, agent, "go")
    assert [%Result{output: "hi"}] = server |> AxonPort.run_stream(agent, "go") |> Enum.take(-1)
    {:ok, ref} = AxonPort.run(server, agent, "go")
    assert_receive {:axon_port, ^ref, {:result, %Result{}}}, @patience
    assert {:ok, false} = AxonPort.cancel(server, ref)
    assert {:ok, _info} = AxonPort.create_agent(server, scripted("named", [%{text: "by name"}]))
    assert {:ok, %Result{output: "by name"}} = AxonPort.run_sync(pool, "named", "go")
    assert :ok = AxonPort.set_log_level(server, :info)
    assert :ok = AxonPort.delete_agent(server, "named")
  end

  test "what is no worker is refused, whatever is asked of it, and does not notice", %{
    pool: pool,
    agent: agent
  } do
    plain = spawn_link(fn -> receive do: (:stop -> :ok) end)
    supervisor = Module.concat(pool, Supervisor)

    for other <- [Process.whereis(pool), Process.whereis(supervisor), supervisor, plain] do
      alive = GenServer.whereis(other)

      for ask <- [
            &AxonPort.run_sync(&1, agent, "go"),
            &AxonPort.run(&1, agent, "go"),
            &(&1 |> AxonPort.run_stream(agent, "go") |> Enum.to_list()),
            &AxonPort.create_agent(&1, agent),
            &AxonPort.delete_agent(&1, "here"),
            &AxonPort.ping/1,
            &AxonPort.set_log_level(&1, :info),
            &AxonPort.cancel(&1, make_ref()),
            &AxonPort.enqueue(&1, make_ref(), "more"),
            &AxonPort.credit(&1, make_ref(), 1),
            &Conversation.start_link(server: &1, agent: agent)
          ] do
        assert_raise ArgumentError, ~r/server/, fn -> ask.(other) end
      end

      assert {GenServer.whereis(other), Process.info(alive, :message_queue_len)} ==
               {alive, {:message_queue_len, 0}}
    end
  end

  test "a pool that is taken for a worker says so, and lives on", %{pool: pool} do
    alive = Process.whereis(pool)
    ping = Request.new(:command, Command.new!("ping"))
    assert {:error, %Error{reason: :not_ready}} = Worker.call(alive, ping)
    assert {:error, %Error{reason: :not_ready}} = Worker.open(alive, ping, :alias)
    send(alive, :stray)
    assert is_map(:sys.get_state(alive)) and Process.whereis(pool) == alive
  end

  test "a worker is one by its pid and by each of its names" do
    start_supervised!({Registry, keys: :unique, name: AxonPort.ServerTest.Names})

    for name <- [
          :"a worker of this test",
          {:global, {__MODULE__, :worker}},
          {:via, Registry, {AxonPort.ServerTest.Names, 1}}
        ] do
      worker = start_supervised!({Worker, misbehaving(:silent, name: name)}, id: name)
      assert Server.worker(name) == {:ok, worker}
      assert Server.worker(worker) == {:ok, worker}
    end

    assert {:ok, _worker} = Server.worker({:"a worker of this test", node()})
    gone = spawn(fn -> :ok end)
    ref = Process.monitor(gone)
    assert_receive {:DOWN, ^ref, :process, ^gone, _reason}, @patience
    assert {:error, %Error{reason: :not_ready}} = AxonPort.ping(gone)
  end

  test "on another node, too, a worker is told from what is none" do
    [here, there] = nodes = [Peers.start(), Peers.start()]
    Peers.connect(nodes)
    name = AxonPort.ServerTest.Elsewhere
    options = [name: name, workers: 1]
    Peers.call(there.peer, Peers, :start_children, [[{AxonPort.Supervisor, options}]])
    eventually(fn -> Peers.call(there.peer, AxonPort.Pool, :workers, [name]) != [] end, "no worker is ready")
    [%{worker: worker}] = Peers.call(there.peer, AxonPort.Pool, :workers, [name])
    ask = &Peers.call(here.peer, Server, :worker, [&1])

    assert ask.(worker) == {:ok, worker}
    assert {:error, %Error{reason: :not_ready}} = ask.({:nobody, there.node})
    assert {:error, %Error{reason: :not_ready}} = ask.({name, :"nowhere@127.0.0.1"})
    assert {:ok, %{"status" => "ok"}} = Peers.call(here.peer, AxonPort, :ping, [worker])

    for other <- [name, Module.concat(name, Supervisor)] do
      pid = Peers.call(there.peer, Process, :whereis, [other])
      for server <- [pid, {other, there.node}], do: assert(%ArgumentError{} = catch_error(ask.(server)))
      assert Peers.call(there.peer, Process, :whereis, [other]) == pid
    end
  end

  test "an owner that hangs keeps nobody for ever, and takes no run that nobody waits for" do
    worker = start_worker(misbehaving(:silent))
    :sys.suspend(worker)
    run = Request.new(:run, Command.new!("run"), ref: make_ref(), timeout: 1)
    assert {:error, %Error{reason: :owner_timeout}} = Worker.call(worker, run)
    assert {:error, %Error{reason: :owner_timeout}} = Worker.open(worker, run, :alias)
    :sys.resume(worker)
    # Both have come and been given up by the time that this is answered.
    assert Worker.find(worker, run.ref) == :none
    assert {:messages, []} = Process.info(self(), :messages)
  end
end
