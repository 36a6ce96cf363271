defmodule AxonPort.Tool do
  @moduledoc """
  A function that the model may call: what the model is told of it, and what runs.

  As a module, where a tool is worth one:

      defmodule Shop.Lookup do
        use AxonPort.Tool,
          description: "Finds an order by its number.",
          parameters: %{number: {:integer, minimum: 1}},
          timeout: 5_000

        @impl true
        def call(%{number: number}, _context) do
          case Shop.Orders.fetch(number) do
            {:ok, order} -> {:ok, order}
            :error -> {:retry, "there is no order \#{number}: ask for another number"}
          end
        end
      end

  as an anonymous function:

      AxonPort.Tool.new(name: "clock", description: "What time it is.", run: fn _args -> {:ok, Time.utc_now()} end)

  or as a function of an agent's module (see `AxonPort.Agent`).

  ## What a tool returns

  | outcome | what happens |
  | --- | --- |
  | `{:ok, value}` | the model gets the value; `AxonPort.Plain` says what becomes of structs, dates and atoms |
  | `{:ok, value, parts}` | and what no JSON holds: pictures, recordings, documents, as parts of a prompt |
  | `{:retry, text}` | the model is asked to call again, at the cost of the tool's `retries` |
  | `{:failed, text}` | the model sees that the call failed and goes on, at no such cost |
  | `{:error, reason}` | the run ends with an `AxonPort.Error` of reason `:tool_error` |
  | `{:error, message, details}` | the same, with details for whoever gets the error |

  A raise, a throw, an exit, and a return value that is none of these, end the run as `{:error, reason}` does, and the
  log has the stacktrace, with no arguments in it. A call for which the tasks' supervisor has no task ends the run as
  well. A tool that outlasts its `timeout` is killed, and the model is asked to try again.

  ## Fields

    * `:name`: for one tool of an agent only; of a module the last part of its name, in snake case
    * `:description`: for the model
    * `:parameters`: a map type or a struct's module, as `AxonPort.Schema` reads them. The arguments are cast by it
      before they are handed over, to all three functions; those of a JSON Schema given as it stands are handed over as
      they came. Default: none
    * `:run`: a function of the arguments, or of the arguments and the context. Its process is a task of its own
    * `:handler`: who runs it. `:parent` (the default) is this node; `{:python, "package.module:function"}` the worker;
      `:deferred` nobody during the run, which ends with the call open
    * `:timeout`: of a call, in milliseconds; `:retries`: how often the model may try again
    * `:sequential`: not beside other calls; `:strict`: for providers that know it
    * `:requires_approval`: somebody has to allow each call. `:approval` says how they are asked: `:parent` (during the
      run, by `:approve`) or `:deferred` (the run ends with the call open)
    * `:approve`: a function of the request (`%{name: _, args: _}`) and the context that returns `:approve`,
      `{:approve, args}` (in place of the model's) or `{:deny, text}`. It may wait for a person: the tool's timeout does
      not run meanwhile. Giving it implies `:requires_approval`
    * `:resolve`: a function of the call and the context, asked when a run has ended with this call open (see
      `AxonPort.Conversation`). It returns an outcome (`{:ok, value}`, `{:retry, text}`, `{:failed, text}`), for a call
      that waits for approval what `:approve` returns, or `:later`: somebody will answer it in his own time

  The context of a call is a map: `:agent` (the `AxonPort.Agent`), `:call_id`, `:run_id` and `:deps`. The deps are
  what JSON gives back, with texts as keys, whatever they were made of; where the agent has a `:deps_schema`, they are cast
  by it. So a tool sees the same in a run, in a conversation, and in one that was stored.
  """

  alias AxonPort.Schema
  alias AxonPort.Schema.Type

  @typedoc "What a tool returns."
  @type outcome ::
          {:ok, term}
          | {:ok, term, parts :: [map]}
          | {:retry, String.t()}
          | {:failed, String.t()}
          | {:error, reason :: term}
          | {:error, message :: String.t(), details :: term}

  @typedoc "What somebody says to a call that has to be allowed."
  @type verdict :: :approve | {:approve, args :: map | nil} | {:deny, message :: String.t()}

  @typedoc "Whom a call is made for."
  @type context :: %{
          optional(:deps) => term,
          agent: AxonPort.Agent.t(),
          call_id: String.t(),
          run_id: term
        }

  @type t :: %__MODULE__{
          name: String.t(),
          description: String.t() | nil,
          parameters: Type.notation(),
          handler: :parent | :deferred | {:python, String.t()},
          run: (args :: term -> outcome) | (args :: term, context -> outcome) | nil,
          timeout: pos_integer | nil,
          retries: non_neg_integer | nil,
          sequential: boolean,
          strict: boolean | nil,
          requires_approval: boolean,
          approval: :parent | :deferred,
          approve: (map, context -> verdict) | nil,
          resolve: (map, context -> outcome | verdict | :later) | nil
        }

  @enforce_keys [:name]
  defstruct [
    :name,
    :description,
    :parameters,
    :run,
    :timeout,
    :retries,
    :strict,
    :approve,
    :resolve,
    handler: :parent,
    sequential: false,
    requires_approval: false,
    approval: :parent
  ]

  @doc "The fields of the tool, as for `new/1`; `use AxonPort.Tool` defines it."
  @callback tool() :: keyword

  @doc "Runs the tool, in a task of its own, with arguments that were checked and cast."
  @callback call(args :: term, context) :: outcome

  @doc false
  defmacro __using__(fields) do
    quote do
      @behaviour AxonPort.Tool

      @doc false
      @impl AxonPort.Tool
      def tool, do: unquote(fields)

      defoverridable tool: 0
    end
  end

  @doc """
  A tool of a module, of fields, or of a tool.

  Raises `ArgumentError` on a field that is unknown, missing or wrong.
  """
  @spec new(module | keyword | map | t) :: t
  def new(%__MODULE__{} = tool), do: tool

  def new(module) when is_atom(module) do
    unless Code.ensure_loaded?(module) and function_exported?(module, :tool, 0) do
      raise ArgumentError, "#{inspect(module)} is no tool: it does not `use AxonPort.Tool`"
    end

    [name: name_of(module), run: &module.call/2] |> Keyword.merge(module.tool()) |> new()
  end

  def new(fields) do
    fields = Map.new(fields)
    Enum.each(fields, &check!/1)
    if not is_map_key(fields, :name), do: raise(ArgumentError, "a tool has to have a name")

    fields |> implied() |> then(&struct!(__MODULE__, &1)) |> coherent!()
  end

  @doc "The tool as `create_agent` takes it."
  @spec to_command(t) :: %{String.t() => AxonPort.Plain.t()}
  def to_command(%__MODULE__{} = tool) do
    fields = %{
      "name" => tool.name,
      "description" => tool.description,
      "parameters" => tool.parameters && Schema.to_json(tool.parameters),
      "handler" => handler(tool.handler),
      "timeout_ms" => tool.timeout,
      "retries" => tool.retries,
      "strict" => tool.strict,
      "sequential" => tool.sequential || nil,
      "requires_approval" => tool.requires_approval || nil,
      "approval" => if(tool.approval == :deferred, do: "deferred")
    }

    for {key, value} <- fields, value != nil, into: %{}, do: {key, value}
  end

  defp handler(:parent), do: nil
  defp handler(:deferred), do: "deferred"
  defp handler({:python, reference}), do: %{"python" => reference}

  defp name_of(module), do: module |> Module.split() |> List.last() |> Macro.underscore()

  defp implied(%{approve: approve} = fields) when approve != nil do
    Map.put(fields, :requires_approval, true)
  end

  defp implied(%{approval: :deferred} = fields), do: Map.put(fields, :requires_approval, true)
  defp implied(fields), do: fields

  defp coherent!(%{handler: :parent, run: nil} = tool), do: refuse!(tool, "has to have something to run")

  defp coherent!(%{handler: {:python, _}, run: run} = tool) when run != nil do
    refuse!(tool, "runs in the worker")
  end

  defp coherent!(%{handler: {:python, _}} = tool), do: tool

  # The schema of a Python function is taken from its signature; of all others "no parameters" is a schema too.
  defp coherent!(%{parameters: nil} = tool), do: %{tool | parameters: %{}}
  defp coherent!(tool), do: tool

  @spec refuse!(t, String.t()) :: no_return
  defp refuse!(tool, why), do: raise(ArgumentError, "tool #{tool.name} #{why}")

  defp check!({:name, name}) when is_binary(name) and byte_size(name) > 0, do: :ok
  defp check!({:parameters, nil}), do: :ok
  defp check!({:parameters, type}), do: parameters!(Type.read!(type))
  defp check!({:run, run}) when is_function(run, 1) or is_function(run, 2) or is_nil(run), do: :ok
  defp check!({:handler, handler}) when handler in [:parent, :deferred], do: :ok
  defp check!({:handler, {:python, reference}}) when is_binary(reference), do: :ok
  defp check!({:timeout, timeout}) when is_integer(timeout) and timeout > 0, do: :ok
  defp check!({:retries, retries}) when is_integer(retries) and retries >= 0, do: :ok
  defp check!({:approval, approval}) when approval in [:parent, :deferred], do: :ok
  defp check!({flag, value}) when flag in [:sequential, :requires_approval] and is_boolean(value), do: :ok
  defp check!({callback, fun}) when callback in [:approve, :resolve] and is_function(fun, 2), do: :ok
  defp check!({:description, text}) when is_binary(text), do: :ok
  defp check!({:strict, strict}) when is_boolean(strict), do: :ok

  defp check!({field, nil}) when field in [:description, :timeout, :retries, :strict, :approve, :resolve] do
    :ok
  end

  defp check!({field, value}) do
    raise ArgumentError, "a tool's #{inspect(field)} cannot be #{inspect(value)}"
  end

  defp parameters!({:annotated, type, _annotations}), do: parameters!(type)
  defp parameters!({kind, _type}) when kind in [:object, :struct, :map, :raw], do: :ok
  defp parameters!({:plain, :map}), do: :ok
  defp parameters!(_type), do: raise(ArgumentError, "a tool's parameters are a map or a struct")
end
