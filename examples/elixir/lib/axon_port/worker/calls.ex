defmodule AxonPort.Worker.Calls do
  @moduledoc """
  The calls of tools that are under way: one task each, found by the call's id and by the task's reference.

  Tasks are started, ended and accounted for here; what is told to the worker is `AxonPort.Session`'s affair.
  """

  alias AxonPort.{Agent, Command, Request}
  alias AxonPort.Tool.Runner
  alias AxonPort.Worker.Report

  @enforce_keys [:witness]
  defstruct [:witness, by_call: %{}, by_task: %{}]

  @typedoc "A call, the task that works on it, and the run that it belongs to."
  @type entry :: %{
          task: Task.t(),
          id: pos_integer,
          call_id: String.t(),
          kind: :tool | :approval,
          metadata: map,
          started_at: integer
        }

  @type t :: %__MODULE__{
          witness: pid,
          by_call: %{String.t() => entry},
          by_task: %{reference => String.t()}
        }

  @doc "None yet."
  @spec new(pid) :: t
  def new(witness), do: %__MODULE__{witness: witness}

  @doc "How many there are."
  @spec count(t) :: non_neg_integer
  def count(calls), do: map_size(calls.by_call)

  @doc """
  Starts a task for a `tool_call` or an `approval_request` of this run. Where nobody here knows the tool, or nobody can
  run it, the answer says so.
  """
  @spec start(t, Supervisor.supervisor(), Request.t(), map) :: {:ok, t} | {:refused, Command.t()}
  def start(calls, supervisor, request, %{"name" => name, "call_id" => call_id, "args" => args} = frame) do
    kind = Map.fetch!(request.calls, call_id)
    context = %{agent: request.agent, call_id: call_id, run_id: request.ref, deps: deps(request)}

    with {:ok, tool} <- tool(request.agent, name),
         {:ok, task} <- start_task(kind, supervisor, tool, args, context) do
      {:ok, put(calls, entry(calls, kind, task, request, frame))}
    else
      {:error, text} -> {:refused, Command.refusal(kind, call_id, text)}
    end
  end

  defp tool(agent, name) do
    with :error <- known(agent, name), do: {:error, "there is nobody here who runs #{name}"}
  end

  defp known(%Agent{} = agent, name), do: Agent.tool(agent, name)
  defp known(_unknown, _name), do: :error

  defp start_task(:tool, supervisor, tool, args, context), do: Runner.start(supervisor, tool, args, context)

  defp start_task(:approval, supervisor, tool, args, context),
    do: Runner.approve(supervisor, tool, args, context)

  defp entry(calls, kind, task, request, frame) do
    metadata = Report.of_call(request, frame)

    %{
      id: request.id,
      call_id: frame["call_id"],
      kind: kind,
      metadata: metadata,
      started_at: Report.call_started(calls.witness, kind, metadata, task.pid),
      task: task
    }
  end

  defp deps(%Request{deps: nil, agent: agent}), do: agent.deps
  defp deps(%Request{deps: deps}), do: deps

  @doc "The task with this reference has ended, or was ended (`{:exit, reason}`): the answer to its call."
  @spec ended(t, reference, Runner.answered() | {:exit, term}) :: {:ok, entry, Command.t(), t} | :error
  def ended(calls, task_ref, outcome) do
    case calls.by_task do
      %{^task_ref => call_id} ->
        {entry, calls} = pop(calls, call_id)
        {command, failure} = answered(entry, outcome)
        Report.call_ended(calls.witness, entry, failure)
        {:ok, entry, command, calls}

      _unknown ->
        :error
    end
  end

  defp answered(entry, {:exit, reason}), do: Runner.lost(entry.kind, entry.call_id, reason)
  defp answered(_entry, answered), do: answered

  @doc "Nobody waits for this call any more: its task is killed."
  @spec drop(t, String.t()) :: t
  def drop(calls, call_id) do
    case pop(calls, call_id) do
      {nil, calls} ->
        calls

      {entry, calls} ->
        Runner.stop(entry.task)
        Report.call_dropped(calls.witness, entry)
        calls
    end
  end

  defp put(calls, %{task: task, call_id: call_id} = entry) do
    by_call = Map.put(calls.by_call, call_id, entry)
    %{calls | by_call: by_call, by_task: Map.put(calls.by_task, task.ref, call_id)}
  end

  defp pop(calls, call_id) do
    case Map.pop(calls.by_call, call_id) do
      {nil, _same} -> {nil, calls}
      {entry, rest} -> {entry, %{calls | by_call: rest, by_task: Map.delete(calls.by_task, entry.task.ref)}}
    end
  end
end
