defmodule AxonPort.Tool.Runner do
  @moduledoc """
  Runs tools and approvals as tasks, and says what becomes of their outcomes on the wire.

  A call is one task under a `Task.Supervisor`, not linked to whoever started it, who holds one reference and gets one of
  two messages for it:

      {ref, answered}                        the answer, and why the call has failed, if it has
      {:DOWN, ref, :process, pid, reason}    somebody has killed the task: `lost/3` has the answer

  All that a value takes is done inside the task: arguments and deps are cast, the value is made plain and encoded, and
  what the tool raises, throws or exits with is put into words and logged (`AxonPort.Tool.Failure`). So neither a large
  value nor a hostile one costs the owner anything.
  """

  alias AxonPort.{Agent, Command, Plain, Schema, Tool}
  alias AxonPort.Tool.Failure

  @typedoc "The answer to a call as it is sent, and why the call has failed, if it has."
  @type answered :: {Command.t(), failure :: String.t() | nil}

  @doc """
  Starts a call of a tool. The arguments are JSON data, as the worker sent them.

  Where the supervisor takes no further task, the error says so.
  """
  @spec start(Supervisor.supervisor(), Tool.t(), map, Tool.context()) ::
          {:ok, Task.t()} | {:error, String.t()}
  def start(supervisor, %Tool{} = tool, args, context) do
    async(supervisor, fn ->
      outcome = attempt(tool, fn -> call(tool, args, made_known(context)) end)
      encoded(:tool, context.call_id, answer(outcome))
    end)
  end

  @doc "Starts asking whether a call may be made. As `start/4`."
  @spec approve(Supervisor.supervisor(), Tool.t(), map, Tool.context()) ::
          {:ok, Task.t()} | {:error, String.t()}
  def approve(supervisor, %Tool{} = tool, args, context) do
    async(supervisor, fn ->
      verdict = attempt(tool, fn -> ask(tool, args, made_known(context)) end)
      encoded(:approval, context.call_id, verdict(verdict))
    end)
  end

  # A supervisor with `:max_children`, or one that has gone, says so in no other way.
  defp async(supervisor, fun) do
    {:ok, Task.Supervisor.async_nolink(supervisor, fun)}
  rescue
    RuntimeError -> {:error, "the tasks' supervisor takes no further one"}
  catch
    :exit, {_gone, {GenServer, :call, _arguments}} -> {:error, "the tasks' supervisor has gone"}
  end

  # A crash is an outcome, of this call and of nobody else's.
  defp attempt(%Tool{name: name}, fun) do
    fun.()
  catch
    kind, reason -> {:crash, Failure.crash(name, kind, reason, __STACKTRACE__)}
  end

  defp encoded(kind, call_id, fields) do
    case Command.answer(kind, call_id, fields) do
      {:ok, command} -> {command, fields["error"]}
      {:error, error} -> {Command.refusal(kind, call_id, error.message), error.message}
    end
  end

  @doc "The answer to a call whose task was killed. The reason is told where it is a name: other terms may be anything."
  @spec lost(:tool | :approval, String.t(), term) :: answered
  def lost(:approval, call_id, _reason), do: encoded(:approval, call_id, verdict({:crash, nil}))

  def lost(:tool, call_id, reason) do
    text =
      if is_atom(reason),
        do: "the tool exited: #{reason}",
        else: "the tool was taken along by another process"

    encoded(:tool, call_id, answer({:crash, text}))
  end

  @doc """
  Starts asking what is to become of a call that a run has left open; `call` is an entry of `deferred.calls`.

  The outcome is `{:resolved, entry}` with an entry of `deferred_results`, or `:later`, also after a crash.
  """
  @spec resolve(Supervisor.supervisor(), Tool.t(), map, Tool.context()) :: Task.t()
  def resolve(supervisor, %Tool{resolve: resolve} = tool, call, context) when resolve != nil do
    Task.Supervisor.async_nolink(supervisor, fn ->
      with {:crash, _logged} <- attempt(tool, fn -> look_into(tool, call, made_known(context)) end),
           do: :later
    end)
  end

  @doc "Ends a task at once, whatever it does, and forgets it: neither of its messages comes after this."
  @spec stop(Task.t()) :: :ok
  def stop(%Task{pid: pid, ref: ref}) do
    Process.exit(pid, :kill)
    Process.demonitor(ref, [:flush])

    receive do
      {^ref, _outcome} -> :ok
    after
      0 -> :ok
    end
  end

  @doc "The fields of `tool_result` for an outcome, or for a crash and its text."
  @spec answer(Tool.outcome() | {:crash, String.t()}) :: %{String.t() => Plain.t()}
  def answer({:ok, value}), do: %{"result" => value}
  def answer({:ok, value, parts}), do: %{"result" => value, "content" => parts}
  def answer({:retry, text}), do: %{"retry" => text}
  def answer({:failed, text}), do: %{"failed" => text}
  def answer({:error, text}), do: %{"error" => text}
  def answer({:error, message, details}), do: %{"error" => message, "details" => details}
  def answer({:crash, text}), do: %{"error" => text}

  @doc "The fields of `approval` for what somebody said, or for a crash: then the call is refused."
  @spec verdict(Tool.verdict() | {:crash, String.t() | nil}) :: %{String.t() => Plain.t()}
  def verdict(:approve), do: %{"approved" => true}
  def verdict({:approve, nil}), do: %{"approved" => true}
  def verdict({:approve, args}), do: %{"approved" => true, "args" => args}
  def verdict({:deny, text}), do: %{"approved" => false, "message" => text}
  def verdict({:crash, _text}), do: %{"approved" => false, "message" => "nobody could be asked"}

  @doc """
  An entry of `deferred_results`: what became of a call that a run has left open.

  Raises `ArgumentError` if the answer is no answer to this call.
  """
  @spec entry(map, Tool.outcome() | Tool.verdict()) :: %{String.t() => Plain.t()}
  def entry(%{"approval" => true}, answer), do: answer |> verdict!() |> verdict()

  def entry(%{"call_id" => call_id}, answer) do
    case outcome!(answer) do
      {kind, _told} = outcome when kind in [:ok, :retry, :failed] -> answer(outcome)
      other -> raise ArgumentError, "#{inspect(other)} cannot answer the deferred call #{call_id}"
    end
  end

  defp call(%Tool{run: run} = tool, args, context) do
    case cast(tool, args) do
      {:ok, args} -> run |> apply_to(args, context) |> outcome!()
      {:error, text} -> {:retry, text}
    end
  end

  # One that needs approval and has nobody who gives it is refused, not let through.
  defp ask(%Tool{approve: nil}, _args, _context), do: {:deny, "there is nobody who could allow this"}

  defp ask(%Tool{name: name, approve: approve} = tool, args, context) do
    case cast(tool, args) do
      {:ok, args} -> verdict!(approve.(%{name: name, args: args}, context))
      {:error, text} -> {:deny, text}
    end
  end

  defp look_into(%Tool{name: name, resolve: resolve} = tool, call, context) do
    case cast(tool, call["args"]) do
      {:ok, args} -> resolved(call, resolve.(%{name: name, args: args}, context))
      {:error, text} -> resolved(call, if(call["approval"], do: {:deny, text}, else: {:retry, text}))
    end
  end

  defp resolved(_call, :later), do: :later
  defp resolved(call, answer), do: {:resolved, entry(call, answer)}

  # What JSON gives back, so that a tool sees the same deps before and after they were stored.
  defp made_known(%{agent: %Agent{deps_schema: type}, deps: deps} = context) do
    plain = deps |> Plain.object() |> Plain.from!()

    case type && Schema.cast(type, plain) do
      {:ok, value} -> %{context | deps: value}
      _no_type_or_no_value -> %{context | deps: plain}
    end
  end

  defp made_known(context), do: context

  # A function of the worker may leave its parameters to its signature.
  defp cast(%Tool{parameters: nil}, args), do: {:ok, args}

  defp cast(%Tool{parameters: parameters}, args) do
    with {:error, {path, expected}} <- Schema.cast(parameters, args) do
      {:error, "#{Enum.join(path, ".")}: expected #{expected}"}
    end
  end

  defp apply_to(run, args, _context) when is_function(run, 1), do: run.(args)
  defp apply_to(run, args, context), do: run.(args, context)

  defp outcome!({:ok, value}), do: {:ok, Plain.from!(value)}
  defp outcome!({:ok, value, parts}) when is_list(parts), do: {:ok, Plain.from!(value), Plain.from!(parts)}

  defp outcome!({kind, text}) when kind in [:retry, :failed] and is_binary(text) do
    {kind, Plain.from!(text)}
  end

  defp outcome!({:error, reason}), do: {:error, Failure.text(reason)}

  defp outcome!({:error, text, details}) when is_binary(text) do
    {:error, Plain.from!(text), Plain.from!(details)}
  end

  defp outcome!(other), do: raise(ArgumentError, "a tool cannot return #{inspect(other)}: see AxonPort.Tool")

  defp verdict!(:approve), do: :approve
  defp verdict!({:approve, nil}), do: :approve
  defp verdict!({:approve, %{} = args}), do: {:approve, Plain.from!(args)}
  defp verdict!({:deny, text}) when is_binary(text), do: {:deny, Plain.from!(text)}
  defp verdict!(other), do: raise(ArgumentError, "an approval cannot be #{inspect(other)}: see AxonPort.Tool")
end
