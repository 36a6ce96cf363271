defmodule AxonPort.SupervisorTest do
  use ExUnit.Case, async: true

  import AxonPort.RealWorker
  import ExUnit.CaptureLog

  alias AxonPort.{Error, Pool, Result, Worker}

  @patience AxonPort.RealWorker.patience()

  setup_all do
    %{pool: start_pool()}
  end

  test "creates an agent where a run needs it", %{pool: pool} do
    agent = scripted("everywhere", [%{text: "here"}])
    runs = for _ <- 1..20, do: Task.async(fn -> AxonPort.run_sync(pool, agent, "go") end)

    assert [{:ok, %Result{output: "here"}}] =
             runs |> Task.await_many(@patience) |> Enum.uniq_by(fn {ok, r} -> {ok, r.output} end)

    for %{worker: worker} <- Pool.workers(pool) do
      {:ok, agents} = AxonPort.list_agents(worker)
      assert "everywhere" in Enum.map(agents, & &1["agent_id"])
    end
  end

  test "remembers what was created by name, until it is deleted", %{pool: pool} do
    {:ok, _info} = AxonPort.create_agent(pool, scripted("named", [%{text: "yes"}]))
    runs = for _ <- 1..10, do: Task.async(fn -> AxonPort.run_sync(pool, "named", "go") end)
    assert Enum.all?(Task.await_many(runs, @patience), &match?({:ok, %Result{output: "yes"}}, &1))
    assert :ok = AxonPort.delete_agent(pool, "named")
    assert {:error, %Error{reason: :agent_not_found}} = AxonPort.run_sync(pool, "named", "go")
  end

  test "refuses a definition that is none with the worker's reason", %{pool: pool} do
    agent = AxonPort.Agent.new(id: "broken", model: "nobody:nothing")
    assert {:error, %Error{reason: :invalid_agent}} = AxonPort.create_agent(pool, agent)
    assert {:error, %Error{reason: :invalid_agent}} = AxonPort.run_sync(pool, agent, "go")
  end

  test "counts out what has ended", %{pool: pool} do
    agent = scripted("counted", [%{text: "x"}])
    for _ <- 1..5, do: {:ok, _} = AxonPort.run_sync(pool, agent, "go")
    eventually(fn -> Enum.all?(Pool.workers(pool), &(&1.load == 0)) end, "load is left")
  end

  test "counts out who was counted in and never came", %{pool: pool} do
    {:ok, worker} = Pool.pick(pool)
    Worker.recount(worker)
    eventually(fn -> Enum.all?(Pool.workers(pool), &(&1.load == 0)) end, "load is left")
  end

  test "cancels a run by its reference, whichever worker has it", %{pool: pool} do
    agent = scripted("slow", [%{text: "x", delay_ms: 3_600_000}])
    refs = for _ <- 1..4, {:ok, ref} = AxonPort.run(pool, agent, "go"), do: ref
    for ref <- refs, do: assert({:ok, true} = AxonPort.cancel(pool, ref))
    for ref <- refs, do: assert_receive({:axon_port, ^ref, {:error, %Error{reason: :cancelled}}}, @patience)
  end

  test "a worker that was killed is replaced, and its agents are there again" do
    pool = start_pool(workers: 1)
    agent = scripted("again", [%{text: "here"}])
    {:ok, _} = AxonPort.run_sync(pool, agent, "go")
    {worker, os_pid} = any_worker(pool)
    signal(os_pid, "KILL")
    assert {:ok, %Result{output: "here"}} = AxonPort.run_sync(pool, agent, "go", attempts: 5)
    [%{worker: replacement}] = Pool.workers(pool)
    assert replacement != worker
    assert_gone(os_pid)
  end

  test "a worker whose owner is killed is replaced, and its process is gone" do
    pool = start_pool(workers: 1)
    {worker, os_pid} = any_worker(pool)
    {:ok, ref} = AxonPort.run(pool, scripted("slow", [%{text: "x", delay_ms: 3_600_000}]), "go")
    Process.exit(worker, :kill)
    assert_receive {:axon_port, ^ref, {:error, %Error{reason: :worker_exited}}}, @patience
    assert_gone(os_pid)

    assert_replaced(pool, worker)
  end

  test "what was created by name is there after the pool was killed, too" do
    pool = start_pool(workers: 1)
    {:ok, _info} = AxonPort.create_agent(pool, scripted("kept", [%{text: "yes"}]))
    {worker, _os_pid} = any_worker(pool)
    Process.exit(Process.whereis(pool), :kill)
    assert_replaced(pool, worker)
    assert {:ok, %Result{output: "yes"}} = AxonPort.run_sync(pool, "kept", "go")
  end

  test "whoever asks while the workers of a pool that was killed drain gets a worker after that" do
    pool = start_pool(workers: 1, grace: @patience)
    test = self()
    tool = [name: "wait", run: fn _args -> send(test, {:tool, self()}) && receive(do: (:go -> {:ok, 1})) end]
    last = scripted("last", [%{tool_calls: [%{name: "wait"}]}, %{text: "finished"}], tools: [tool])
    {:ok, ref} = AxonPort.run(pool, last, "go")
    assert_receive {:tool, tool}, @patience
    {worker, _os_pid} = any_worker(pool)
    Process.exit(Process.whereis(pool), :kill)
    eventually(fn -> Worker.info(worker).state == :draining end, "it does not drain")

    tell = fn _event, _, metadata, _ -> if metadata.worker == worker, do: send(test, metadata.reason) end
    :ok = AxonPort.Telemetry.attach(pool, [[:axon_port, :run, :exception]], tell)
    on_exit(fn -> AxonPort.Telemetry.detach(pool) end)
    next = Task.async(fn -> AxonPort.run_sync(pool, scripted("next", [%{text: "here"}]), "go") end)
    assert_receive :shutting_down, @patience

    send(tool, :go)
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "finished"}}}, @patience
    assert {:ok, %Result{output: "here"}} = Task.await(next, @patience)
  end

  test "a worker that is full by what the pool has not counted is overloaded at once" do
    pool = start_pool(workers: 1, max_inflight: 1, ready_timeout: 3_600_000)
    {worker, _os_pid} = any_worker(pool)
    {:ok, ref} = AxonPort.run(worker, scripted("slow", [%{text: "x", delay_ms: 3_600_000}]), "go")
    agent = scripted("next", [%{text: "here"}])

    assert {:error, %Error{reason: :overloaded, error_type: "Overloaded"}} =
             AxonPort.run_sync(pool, agent, "go")

    assert {:ok, true} = AxonPort.cancel(pool, ref)
    assert_receive {:axon_port, ^ref, {:error, %Error{reason: :cancelled}}}, @patience
    assert {:ok, %Result{output: "here"}} = AxonPort.run_sync(pool, agent, "go")
  end

  for {key, value} <- [
        name: "text",
        workers: "2",
        workers: 0,
        cluster: 1,
        stable: "10s",
        backoff: [base: 0.5],
        health: [interval: 0.5],
        health: [timeout: :infinity],
        health: [intervall: 1],
        ready_timeout: 2 ** 64,
        colour: :red
      ] do
    test "#{inspect(key)} cannot be #{inspect(value)}: nothing is started" do
      key = unquote(key)
      options = Keyword.merge([name: unique_name()], [{key, unquote(value)}])
      named = ~r/#{key}/

      for start <- [&AxonPort.Supervisor.start_link/1, &AxonPort.Supervisor.child_spec/1] do
        assert_raise ArgumentError, named, fn -> start.(options) end
      end
    end
  end

  test "one without a name is told so" do
    assert_raise ArgumentError, ~r/:name/, fn -> AxonPort.Supervisor.start_link(workers: 1) end
  end

  test "no report of a supervisor shows a key" do
    options = [name: unique_name(), workers: 1, env: [{"KEY", "sk-secret"}]]
    refute inspect(AxonPort.Supervisor.child_spec(options), limit: :infinity) =~ "secret"

    log =
      capture_log(fn ->
        pool = start_pool(options)
        {worker, _os_pid} = any_worker(pool)
        guards = Module.concat(pool, Guards)
        [{_, guard, _, _}] = DynamicSupervisor.which_children(guards)
        refute inspect(:sys.get_status(guard), limit: :infinity) =~ "secret"
        Process.exit(guard, :kill)
        assert_replaced(pool, worker)
        refute inspect(:sys.get_state(guards), limit: :infinity) =~ "secret"
      end)

    refute log =~ "secret"
  end

  test "a worker that is stopped does not answer pings and is replaced" do
    pool = start_pool(workers: 1, health: [interval: 50, timeout: 5_000])
    {worker, os_pid} = any_worker(pool)
    signal(os_pid, "STOP")
    assert_gone(os_pid)

    assert_replaced(pool, worker)
  end

  test "stopping a supervisor lets runs finish, and leaves no process" do
    pool = unique_name()
    {:ok, supervisor} = AxonPort.Supervisor.start_link(name: pool, workers: 2, grace: @patience)
    await_ready(pool, 2)
    os_pids = for %{worker: worker} <- Pool.workers(pool), do: os_pid(worker)
    test = self()

    tool = [
      name: "wait",
      run: fn _args -> send(test, {:tool, self()}) && receive(do: (:go -> {:ok, "done"})) end
    ]

    agent = scripted("last", [%{tool_calls: [%{name: "wait"}]}, %{text: "finished"}], tools: [tool])
    refs = for _ <- 1..4, {:ok, ref} = AxonPort.run(pool, agent, "go"), do: ref
    tools = for _ <- refs, do: receive(do: ({:tool, pid} -> pid))

    stopping = Task.async(fn -> Supervisor.stop(supervisor) end)
    eventually(fn -> Pool.workers(pool) == [] end, "the pool still takes runs")
    for tool <- tools, do: send(tool, :go)
    for ref <- refs, do: assert_receive({:axon_port, ^ref, {:result, %Result{output: "finished"}}}, @patience)
    assert Task.await(stopping, @patience) == :ok
    for os_pid <- os_pids, do: assert_gone(os_pid)
  end
end
