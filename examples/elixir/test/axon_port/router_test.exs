defmodule AxonPort.RouterTest do
  @moduledoc "Which worker a request goes to, and what it is told. Workers are processes of the test."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Agent, Chunk, Error, Pool, Request, Result, Router, Run}

  @patience AxonPort.RealWorker.patience()

  setup do
    pool = unique_name()
    Pool.prepare(pool)
    start_supervised!({Pool, name: pool, ready_timeout: @patience})
    %{pool: pool, agent: Agent.new(id: "a", model: "test", timeout: 20_000)}
  end

  defp join(pool) do
    worker = spawn_link(fn -> receive do: (:stop -> :ok) end)
    Pool.join(pool, worker, :atomics.new(1, []), 10)
    worker
  end

  defmodule Refusing do
    @moduledoc "A worker that sends so many chunks, and then that it is shutting down."
    use GenServer

    def init(chunks), do: {:ok, chunks}

    def handle_call({:request, _request}, _from, chunks), do: {:reply, {:error, refusal()}, chunks}

    def handle_call({:open, %{ref: ref}, sink}, _from, chunks) do
      for seq <- 1..chunks//1,
          do: send(sink, {:axon_port, ref, {:chunk, %Chunk{kind: :text, data: "a", seq: seq, step: 1}}})

      send(sink, {:axon_port, ref, {:error, refusal()}})
      {:reply, {:ok, 1}, chunks}
    end

    def handle_cast(_leave, chunks), do: {:noreply, chunks}

    defp refusal, do: Error.new(:shutting_down, "of the first")
  end

  # The worker that is asked first.
  defp join_refusing(pool, chunks \\ 0) do
    {:ok, worker} = start_supervised(%{id: Refusing, start: {GenServer, :start_link, [Refusing, chunks]}})
    Pool.join(pool, worker, :atomics.new(1, []), 10)
  end

  # And one that takes what that has refused.
  defp join_real(pool) do
    load = :atomics.new(1, [])
    :atomics.put(load, 1, 1)
    Pool.join(pool, start_worker(load: load), load, 10)
  end

  describe "a run that was refused before it began goes to another worker by itself" do
    setup %{pool: pool} do
      join_refusing(pool)
      join_real(pool)
      %{agent: scripted("second", [%{chunks: ["x", "y"]}])}
    end

    test "whose caller waits", %{pool: pool, agent: agent} do
      assert {:ok, %Result{output: "xy"}} = AxonPort.run_sync(pool, agent, "go")
    end

    test "that is a stream", %{pool: pool, agent: agent} do
      assert %Result{output: "xy"} = pool |> AxonPort.run_stream(agent, "go") |> Enum.to_list() |> List.last()
      assert {:messages, []} = Process.info(self(), :messages)
      assert {:monitors, []} = Process.info(self(), :monitors)
    end

    test "that sends messages", %{pool: pool, agent: agent} do
      {:ok, ref} = AxonPort.run(pool, agent, "go", stream: true)
      assert_receive {:axon_port, ^ref, {:result, %Result{output: "xy"}}}, @patience
      refute_received {:axon_port, ^ref, {:error, _refusal}}
    end

    test "and ends with its owner there", %{pool: pool} do
      slow = scripted("slow", [%{text: "x", delay_ms: 3_600_000}])
      {:ok, ref} = AxonPort.run(pool, slow, "go")
      eventually(fn -> AxonPort.cancel(pool, ref) == {:ok, true} end, "it is at no worker")
      assert_receive {:axon_port, ^ref, {:error, %Error{reason: :cancelled}}}, @patience
    end
  end

  test "where no other worker takes it, the refusal is the outcome", %{pool: pool, agent: agent} do
    join_refusing(pool)
    options = [timeout: 1]
    assert {:error, %Error{reason: :shutting_down}} = AxonPort.run_sync(pool, agent, "go", options)
    {:ok, ref} = AxonPort.run(pool, agent, "go", options)

    assert_receive {:axon_port, ^ref, {:error, %Error{reason: :shutting_down, details: "of the first"}}},
                   @patience

    stream = AxonPort.run_stream(pool, agent, "go", options)
    assert %Error{reason: :shutting_down} = catch_error(Enum.to_list(stream))
    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "what has begun goes nowhere else", %{pool: pool, agent: agent} do
    join_refusing(pool, 1)
    join_real(pool)
    stream = AxonPort.run_stream(pool, agent, "go")
    assert %Error{reason: :shutting_down} = catch_error(Enum.to_list(stream))
    {:ok, ref} = AxonPort.run(pool, agent, "go", stream: true)
    assert_receive {:axon_port, ^ref, {:error, %Error{reason: :shutting_down}}}, @patience
  end

  # What a worker is asked, where each of them answers so.
  defp opened(pool, agent, options) do
    {:ok, request} = Run.request(:run, agent, "go", options)
    {:ok, request} = Router.open(pool, request, fn _worker, request -> {:ok, request} end)
    request
  end

  test "the time that was waited for a worker is off the worker's own limit", %{pool: pool, agent: agent} do
    waiting = Task.async(fn -> opened(pool, agent, timeout: 60_000) end)
    eventually(fn -> :sys.get_state(pool).waiting != %{} end, "nobody waits")
    # A clock that is known to have gone on.
    receive after: (5 -> :ok)
    join(pool)
    request = Task.await(waiting, @patience)
    assert Request.limit_ms(request) in 1..59_995
  end

  test "who gives no limit has the agent's, also where only the pool knows the agent", %{
    pool: pool,
    agent: agent
  } do
    join(pool)
    {:ok, create} = Run.definition(agent)
    Pool.remember(pool, "a", {agent, create})
    assert Request.limit_ms(opened(pool, agent, [])) in 1..20_000
    assert Request.limit_ms(opened(pool, "a", [])) in 1..20_000
    assert Request.limit_ms(opened(pool, "a", timeout: 30_000)) in 20_001..30_000
    # Of this one the worker may know a limit, and nobody else does.
    assert Request.limit_ms(opened(pool, "other", [])) == nil
  end
end
