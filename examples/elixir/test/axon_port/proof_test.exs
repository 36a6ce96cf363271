defmodule AxonPort.ProofTest do
  @moduledoc "What the whole is for: nothing is lost under load, nobody is told twice, no mailbox grows."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Chunk, Error, Pool, Result, Worker}

  @patience 120_000
  @moduletag timeout: 2 * @patience

  # Each run asks for the double of its own number, which it is given in its deps, and ends.
  defp doubling do
    double = [name: "double", run: fn _args, %{deps: n} -> {:ok, 2 * n} end]
    scripted("doubling", [%{tool_calls: [%{name: "double"}]}, %{text: "done"}], tools: [double])
  end

  defp tool_return(%Result{messages: messages}) do
    [value] =
      for %{"parts" => parts} <- messages,
          %{"part_kind" => "tool-return", "content" => value} <- parts,
          do: value

    value
  end

  test "1,000 processes run at once over a pool of two workers, tools included, and none is lost" do
    pool = start_pool(workers: 2)
    agent = doubling()

    results =
      for n <- 1..1000 do
        Task.async(fn -> {n, AxonPort.run_sync(pool, agent, "go", deps: n, timeout: @patience)} end)
      end
      |> Task.await_many(@patience)

    for {n, outcome} <- results do
      assert {:ok, %Result{output: "done"} = result} = outcome
      assert tool_return(result) == 2 * n
    end

    eventually(fn -> Enum.all?(Pool.workers(pool), &(&1.load == 0)) end, "load is left")

    for %{worker: worker} <- Pool.workers(pool) do
      assert %{inflight: 0, calls: 0} = Worker.info(worker)
      {:ok, stats} = AxonPort.stats(worker)
      assert stats["runs"]["succeeded"] > 300, "the load was not shared"
    end
  end

  test "a worker is killed ten times under load, and each caller is answered once" do
    pool = start_pool(workers: 2)
    test = self()
    # Half of the runs need the node, the others only time: they are under way when their worker dies.
    agents = [doubling(), scripted("slow", [%{text: "done", delay_ms: 50}])]

    callers =
      for n <- 1..20 do
        spawn_link(fn -> ask_until_told(test, pool, Enum.at(agents, rem(n, 2)), n) end)
      end

    os_pids =
      for _kill <- 1..10 do
        # There is load again before each kill: every caller has been answered at least once more.
        for caller <- callers, do: assert_receive({:answered, ^caller}, @patience)
        {worker, os_pid} = any_worker(pool)
        gone = Process.monitor(worker)
        signal(os_pid, "KILL")
        # Under load the node hears of it later than the system, which has nobody to kill again by then.
        assert_receive {:DOWN, ^gone, :process, _worker, _reason}, @patience
        os_pid
      end

    for caller <- callers, do: send(caller, :enough)
    counts = for caller <- callers, do: assert_receive({:counted, ^caller, _counts}, @patience) |> elem(2)

    assert Enum.all?(counts, fn %{asked: asked, answers: answers, extra: extra} ->
             asked == answers and extra == 0
           end)

    assert Enum.any?(counts, &(&1.lost > 0)), "no kill hit a run"
    for os_pid <- Enum.uniq(os_pids), do: assert_gone(os_pid)
  end

  defp ask_until_told(test, pool, agent, n, counts \\ %{asked: 0, answers: 0, lost: 0, extra: 0}) do
    receive do
      :enough -> send(test, {:counted, self(), %{counts | extra: mailbox()}})
    after
      0 ->
        ref = asked(pool, agent, n)
        lost = answered(ref)
        send(test, {:answered, self()})
        counts = %{counts | asked: counts.asked + 1, answers: counts.answers + 1, lost: counts.lost + lost}
        ask_until_told(test, pool, agent, n, counts)
    end
  end

  defp asked(pool, agent, n) do
    case AxonPort.run(pool, agent, "go", deps: n) do
      {:ok, ref} -> ref
      {:error, error} -> error
    end
  end

  # 1 if the answer was lost with its worker.
  defp answered(%Error{reason: :worker_exited}), do: 1

  defp answered(ref) when is_reference(ref) do
    receive do
      {:axon_port, ^ref, {:result, %Result{output: "done"}}} -> 0
      {:axon_port, ^ref, {:error, %Error{reason: :worker_exited}}} -> 1
    after
      @patience -> exit(:never_answered)
    end
  end

  defp mailbox do
    {:messages, messages} = Process.info(self(), :messages)
    length(messages)
  end

  test "a stream of 100,000 chunks with a slow consumer keeps mailboxes small, and loses nothing" do
    worker = start_worker()
    count = 100_000
    window = 8
    pieces = for n <- 1..count, do: "#{n} "
    agent = scripted("teller", [%{chunks: pieces}])

    {text, longest} =
      worker
      |> AxonPort.run_stream(agent, "go", window: window, messages: :none)
      |> Enum.reduce({[], 0}, fn
        %Chunk{data: piece}, {text, longest} ->
          {[text | piece], max(longest, slowly(worker))}

        %Result{output: output}, {text, longest} ->
          assert(output == IO.iodata_to_binary(text)) && {text, longest}
      end)

    assert IO.iodata_to_binary(text) == Enum.join(pieces)
    # At most a window of chunks, the result, and what the test itself asks.
    assert longest <= window + 2
  end

  # A consumer that has other things to do: the longest of both mailboxes meanwhile.
  defp slowly(worker) do
    for _ <- 1..20, do: :erlang.yield()
    {:message_queue_len, owners} = Process.info(worker, :message_queue_len)
    {:message_queue_len, ours} = Process.info(self(), :message_queue_len)
    max(owners, ours)
  end
end
