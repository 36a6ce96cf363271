defmodule AxonPort.Conversation.Errand do
  @moduledoc """
  One run of a turn: a task that finds a worker for it and waits for its outcome, and the way to end it before that.

  | the run | is ended by |
  | --- | --- |
  | waits for a worker | whoever withdraws it: no worker gets it any more |
  | is at a worker | that worker, which says whether it came in time (RUN-CANCEL) |
  | has its outcome | nobody: the outcome counts |

  Which of the first two it is, is decided in one place that both sides write to. So a run that has ended by itself is
  never taken for one that was cancelled, and what it has said is kept.
  """

  alias AxonPort.{Agent, Error, Result, Router, Run, Worker}

  @enforce_keys [:server, :task, :ref, :holder]
  defstruct [:server, :task, :ref, :holder]

  @typedoc "`holder` says who has the run that is known by `ref`; `task` brings its outcome."
  @type t :: %__MODULE__{
          server: AxonPort.server(),
          task: Task.t(),
          ref: reference,
          holder: :atomics.atomics_ref()
        }

  @nobody 0
  @a_worker 1
  @withdrawn 2

  # Between two looks where a run is that no worker knows.
  @again_ms 10

  @doc "Starts the run. Its task tells what `AxonPort.run_sync/4` would return."
  @spec start(Supervisor.supervisor(), AxonPort.server(), Agent.t(), AxonPort.prompt(), keyword) :: t
  def start(tasks, server, agent, prompt, options) do
    {ref, holder} = {make_ref(), :atomics.new(1, [])}

    task =
      Task.Supervisor.async_nolink(tasks, fn -> run(server, agent, prompt, [ref: ref] ++ options, holder) end)

    %__MODULE__{server: server, task: task, ref: ref, holder: holder}
  end

  defp run(server, agent, prompt, options, holder) do
    with {:ok, request} <- Run.request(:run, agent, prompt, options),
         {:ok, result} <- Router.open(server, request, &hand_over(&1, &2, holder)),
         do: Result.cast(result, request.output)
  end

  defp hand_over(worker, request, holder) do
    if passes?(holder, @nobody, @a_worker),
      do: worker |> Worker.call(request) |> taken_back(holder),
      else: {:error, Error.new(:cancelled)}
  end

  # A worker that refused it never had it, and it may wait for another one.
  defp taken_back({:error, error} = refused_or_failed, holder) do
    if Error.refused?(error), do: passes?(holder, @a_worker, @nobody)
    refused_or_failed
  end

  defp taken_back(result, _holder), do: result

  @doc """
  Ends the run, and tells what is to be heard of it: its outcome, which may be one of its own, or nothing more. Then its
  task can be stopped.
  """
  @spec cancel(t) :: :outcome | :nothing
  def cancel(%__MODULE__{task: task} = errand), do: cancel(errand, Process.monitor(task.pid))

  defp cancel(errand, monitor) do
    if withdrawn?(errand.holder), do: :nothing, else: cancel_at_worker(errand, monitor)
  end

  defp withdrawn?(holder), do: :atomics.compare_exchange(holder, 1, @nobody, @withdrawn) in [:ok, @withdrawn]

  defp cancel_at_worker(errand, monitor) do
    case AxonPort.cancel(errand.server, errand.ref) do
      {:ok, true} -> :outcome
      {:ok, false} -> look_again(errand, monitor)
      # It does not even answer that.
      {:error, _error} -> :nothing
    end
  end

  # The run is on its way: to its worker, to another one, or to an end that only its task has heard of.
  defp look_again(errand, monitor) do
    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> :outcome
    after
      @again_ms -> cancel(errand, monitor)
    end
  end

  defp passes?(holder, from, to), do: :atomics.compare_exchange(holder, 1, from, to) == :ok
end
